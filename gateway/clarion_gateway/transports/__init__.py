"""The way in and out of the pod: HTTP requests, WebSockets and event streams on TCP connections."""

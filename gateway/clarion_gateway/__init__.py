"""The gateway: holds WebSocket and SSE connections, and delivers events from the bus to them."""

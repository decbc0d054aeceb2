"""The base of both services: settings, HTTP serving, the internal port, logs and traces."""

"""Holds WebSocket and SSE connections and delivers the bus's events to them."""

"""Delivery: rounds, who gets which bytes, and the ring of recent events."""

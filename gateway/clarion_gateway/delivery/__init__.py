"""Delivery: rounds, their recipients and bytes, the ring of recent events, and replays."""

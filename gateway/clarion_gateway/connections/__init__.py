"""This pod's connections: their state, who they belong to, keepalive, and why they close."""

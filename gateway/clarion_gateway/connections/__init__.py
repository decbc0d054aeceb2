"""The connections of the pod: their state, identity, keepalive, and reasons to close."""

"""The life of a client on the pod: handshake, identity, resume, messages, end."""

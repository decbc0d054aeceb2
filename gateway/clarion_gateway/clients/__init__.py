"""A client's life: handshake, identity, resume, messages, end."""

"""Socket.IO, version 5 of its protocol: namespaces, events and acks over Engine.IO. No I/O."""

"""Engine.IO, version 4 of its protocol: the transport below Socket.IO. No I/O."""

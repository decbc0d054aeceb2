"""Events of producers that publish to Socket.IO servers through Redis."""

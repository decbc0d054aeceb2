"""Clients of Socket.IO: sessions of Engine.IO on the public port."""

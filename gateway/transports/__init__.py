"""Sockets: what turns bytes on a TCP connection into a `gateway.connection.Connection`."""

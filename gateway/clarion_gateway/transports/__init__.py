"""Sockets: what turns bytes on a TCP connection into a
`clarion_gateway.connections.connection.Connection`.
"""

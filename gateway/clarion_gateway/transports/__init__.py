"""Sockets: what turns bytes on a TCP connection into whole messages of a
`clarion_gateway.connections.connection.Connection`.
"""

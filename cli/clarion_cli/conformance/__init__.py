"""A kit for authors of servers and clients of ``clarion.v1``: does it keep the protocol?"""

"""The development page: a browser client that a gateway serves in the dev profile.

The production image does not contain it.
"""

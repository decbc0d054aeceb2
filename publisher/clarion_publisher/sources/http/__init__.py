"""The HTTP source: takes events from services, and serves the operations on users and tokens."""

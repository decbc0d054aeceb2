"""A backend that answers clients' messages over HTTP, in FastAPI."""

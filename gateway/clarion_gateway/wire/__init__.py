"""Wire formats: pure functions from events to the bytes that a client reads, and back."""

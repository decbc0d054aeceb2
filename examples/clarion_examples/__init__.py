"""Applications built on Clarion."""

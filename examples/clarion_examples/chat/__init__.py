"""A chat: the smallest application with handlers of its own."""

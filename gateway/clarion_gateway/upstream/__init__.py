"""Handlers in any language: an HTTP backend answers what the application's clients send."""

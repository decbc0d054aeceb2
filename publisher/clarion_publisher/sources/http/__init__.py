"""The source that takes events from services over HTTP, and what else those services may ask."""

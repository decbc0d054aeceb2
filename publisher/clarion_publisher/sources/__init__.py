"""The sources of events. Each is a package or a module of its own; HTTP is one of them."""

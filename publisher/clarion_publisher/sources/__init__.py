"""Where events come from. Each source is a package or a module of its own; HTTP is one of them."""

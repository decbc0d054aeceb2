"""Redis: where it is, connections to it, scripts on one server or a cluster, subscriptions, names of keys."""

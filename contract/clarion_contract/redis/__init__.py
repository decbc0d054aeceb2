"""Redis: its address, connections, scripts on a server or a cluster, subscriptions, key names."""

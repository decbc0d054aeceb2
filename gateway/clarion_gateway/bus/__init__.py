"""The pod's ear on the bus: its subscription, probes, and the repair of what it missed."""

"""The pod's side of the bus: its subscription, probes, and the repair of gaps."""

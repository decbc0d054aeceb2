"""The pod's relation to other pods: presence, rebalancing, drain, deletion cost."""

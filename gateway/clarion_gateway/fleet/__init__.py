"""The pod among the other pods: presence, rebalancing, drain, deletion cost."""

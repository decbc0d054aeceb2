"""Fixed colours of outcomes, so that the same outcome looks the same on every panel."""

from __future__ import annotations

from typing import Final

# Good, neutral, short of room, a fault of ours. All others are the clients' own faults; Grafana
# colours them by their names.
OUTCOMES: Final = {
    "green": (
        "accepted", "connected", "done", "handled", "login", "published", "refresh", "repaired",
        "resumed", "ring", "written",
    ),
    "blue": ("abandoned", "duplicate", "logout", "partial", "redis", "reconnect", "rebalancing"),
    "orange": ("at_capacity", "busy", "draining", "not_resumed", "overloaded", "rate_limited"),
    "red": (
        "bus_refused", "bus_unavailable", "failed", "internal", "internal_error",
        "keys_unavailable", "lost", "timeout", "unavailable",
    ),
}  # fmt: skip

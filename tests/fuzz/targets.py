"""The table of what is fuzzed."""

from __future__ import annotations

from tests.fuzz import documents, gateway, operator, producers, publisher, socketio
from tests.fuzz.target import Target

TARGETS = {
    target.name: target
    for target in (
        Target("heads", gateway.parse_head),
        Target("frames", gateway.parse_frames),
        Target("messages", gateway.parse_message),
        Target("packets", socketio.parse_packets),
        Target("socketio", socketio.parse_session),
        Target("pids", socketio.parse_pid),
        Target("producers", producers.parse_producer),
        Target("requests", publisher.parse_request),
        Target("bodies", publisher.parse_bodies),
        Target("cloudevents", publisher.parse_cloudevents),
        Target("tokens", documents.parse_token),
        Target("keys", documents.parse_keys),
        Target("bus", documents.parse_bus_message),
        Target("orders", documents.parse_orders),
        Target("upstream", documents.parse_upstream),
        Target("rules", operator.parse_rules),
        Target("catalogue", operator.parse_catalogue),
        Target("urls", documents.parse_url),
        Target("settings", documents.parse_settings),
    )
}

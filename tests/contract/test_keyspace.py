"""Names in Redis."""

from __future__ import annotations

from contract.keyspace import CONTROL_STREAM, Keyspace, pod_stream


def test_every_key_of_a_stream_shares_its_tag() -> None:
    keys = Keyspace("ns")
    names = [keys.log("all"), keys.meta("all"), keys.key("all", "k"), keys.channel("all")]
    assert names == ["ns:{all}:log", "ns:{all}:meta", "ns:{all}:key:k", "ns:{all}"]
    assert [keys.orders, keys.channel(CONTROL_STREAM)] == ["ns:{control}:orders", "ns:{control}"]


def test_channels_lead_back_to_streams() -> None:
    keys = Keyspace("a.b-c_1")
    for stream in ("all", "user:al%7Bice", pod_stream("gateway-0")):
        assert keys.stream(keys.channel(stream)) == stream

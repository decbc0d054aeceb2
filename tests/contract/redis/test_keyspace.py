"""Names in Redis."""

from __future__ import annotations

import pytest

from clarion_contract.redis.keyspace import CONTROL_STREAM, Keyspace, pod_stream, shard_stream
from clarion_contract.redis.topology import slot_of

USER = "user:al%7Bice"


def test_every_key_of_a_stream_shares_its_tag() -> None:
    keys = Keyspace("ns")
    names = [keys.log("all"), keys.meta("all"), keys.key("all", "k"), keys.channel("all")]
    assert names == ["ns:{all}:log", "ns:{all}:meta", "ns:{all}:key:k", "ns:{all}"]
    assert keys.presence(USER) == "ns:{user:al%7Bice}:presence"
    assert keys.text("topic:a", "t") == "ns:{topic:a}:text:t"
    assert keys.text_state("topic:a", "t") == "ns:{topic:a}:text:t:state"
    assert [keys.orders, keys.channel(CONTROL_STREAM)] == ["ns:{control}:orders", "ns:{control}"]
    assert keys.clock("all") == keys.clock(USER) == "ns:clock"


def test_in_a_cluster_a_stream_shares_its_slot_with_its_clock() -> None:
    keys = Keyspace("ns", clustered=True)
    assert keys.log("all") == "ns:{shared}:all:log"
    assert keys.orders == "ns:{shared}:control:orders"
    for stream in ("all", USER, CONTROL_STREAM, pod_stream("p"), shard_stream("7", "p")):
        names = [keys.log(stream), keys.meta(stream), keys.key(stream, "k"), keys.channel(stream)]
        assert {slot_of(name) for name in names} == {slot_of(keys.clock(stream))}
    assert keys.clock(shard_stream("7", "p")) == "ns:{7}:clock"
    assert [keys.lane(stream) for stream in ("all", CONTROL_STREAM, USER)] == ["0", "0", "1"]
    assert Keyspace("ns").lane(USER) == ""
    # For good: another bucket would have none of the stream's past.
    assert keys.log("user:alice") == "ns:{246}:user:alice:log"


def test_channels_name_the_database_and_keys_do_not() -> None:
    """Database 0 keeps the names it always had, so that old and new pods hear each other."""
    keys = Keyspace("ns", database=2)
    assert keys.channel("all") == "ns:db2:{all}"
    assert keys.stream("ns:db2:{all}") == "all"
    assert keys.log("all") == Keyspace("ns").log("all") == "ns:{all}:log"


@pytest.mark.parametrize("clustered", [False, True])
def test_channels_lead_back_to_streams(clustered: bool) -> None:
    keys = Keyspace("a.b-c_1", clustered)
    for stream in ("all", USER, pod_stream("gateway-0"), shard_stream("7", "gateway-0")):
        assert keys.stream(keys.channel(stream)) == stream

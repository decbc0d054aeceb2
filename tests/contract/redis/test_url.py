"""`clarion_contract.redis.url`: the forms of URLs; errors never show a password."""

from __future__ import annotations

import pytest
from redis.asyncio.connection import SSLConnection

from clarion_contract.redis.url import parse_redis_url


def test_one_server_is_read_as_redis_py_reads_it() -> None:
    parsed = parse_redis_url("redis://user:p%40ss@cache:6380/3?socket_read_size=100")
    assert parsed.sentinels == ()
    assert parsed.options == {
        "username": "user", "password": "p@ss", "host": "cache", "port": 6380, "db": 3,
        "socket_read_size": 100,
    }  # fmt: skip


def test_sentinels() -> None:
    parsed = parse_redis_url("redis+sentinel://user:p%40ss@one:26380,two,[::1]:1/mymaster/2")
    assert parsed.sentinels == (("one", 26380), ("two", 26379), ("::1", 1))
    assert parsed.service == "mymaster"
    assert parsed.options == {"username": "user", "password": "p@ss", "db": 2}
    assert parsed.sentinel_options == {}, "the login is the data nodes'"


def test_sentinels_may_have_a_login_of_their_own() -> None:
    parsed = parse_redis_url("redis+sentinel://:a@one/m?sentinel_username=s&sentinel_password=%25")
    assert parsed.options == {"password": "a", "db": 0}
    assert parsed.sentinel_options == {"username": "s", "password": "%"}


def test_a_cluster_is_known_by_some_of_its_nodes() -> None:
    parsed = parse_redis_url("rediss+cluster://user:p%40ss@one:7000,two")
    assert parsed.nodes == (("one", 7000), ("two", 6379))
    assert parsed.options["password"] == "p@ss"
    assert parsed.options["connection_class"] is SSLConnection
    assert "host" not in parsed.options
    assert parse_redis_url("redis+cluster://one/0").nodes == (("one", 6379),)


def test_tls_holds_for_every_connection() -> None:
    parsed = parse_redis_url("rediss+sentinel://one/mymaster?ssl_cert_reqs=none")
    for options in (parsed.options, parsed.sentinel_options):
        assert options["connection_class"] is SSLConnection
        assert options["ssl_cert_reqs"] == "none"


@pytest.mark.parametrize(
    "url",
    [
        "http://secret@host",
        "redis+sentinel://:secret@host",
        "redis+sentinel://:secret@host/",
        "redis+sentinel://:secret@host//0",
        "redis+sentinel://:secret@host/service/secret",
        "redis+sentinel://:secret@host/service/0/1",
        "redis+sentinel://:secret@/service",
        "redis+sentinel://:secret@host:99999/service",
        "redis+sentinel://:secret@host,,other/service",
        "redis+sentinel://:sec/ret@host/service",
        "redis+cluster://:secret@host/1",
        "redis+cluster://:secret@host/service",
        "redis+cluster://:secret@host?db=1",
        "redis+cluster://:secret@",
    ],
)
def test_anything_else_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="expected redis://") as refused:
        parse_redis_url(url)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)

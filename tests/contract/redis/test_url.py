"""`clarion_contract.redis.url`: the forms of URLs; errors never show a password."""

from __future__ import annotations

import pytest
from redis.asyncio.connection import SSLConnection

from clarion_contract.redis.url import parse_redis_url, with_login


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
        "redis+sentinel://user:12/secret@host",
        "redis+sentinel://user:12/secret@host/1",
        "redis+cluster://:secret@host/1",
        "redis+cluster://:secret@host/service",
        "redis+cluster://:secret@host?db=1",
        "redis+cluster://:secret@",
        "redis://:secret@",
        "redis://:secret@one,two",
        "redis://:secret@host:0",
        "redis://:secret@host/secret",
        "redis://:sec/secret@host:6379/0",
        "redis://:12/secret@host:6379/0",
        "redis://:[secret@host",
        "unix://:secret@host/socket",
        "unix+cluster://:secret@host",
    ],
)
def test_anything_else_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match="expected redis://") as refused:
        parse_redis_url(url)
    assert "secret" not in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("redis://:1#secret@host", "expected no #"),
        ("redis://:1?secret@host", r"expected name=value after the \?"),
        ("redis://:1?se=cret&secret=1@host", "unknown option: expected one of db, protocol"),
        ("redis://host?protocol=secret", "expected 2 or 3 for the option protocol"),
        ("redis://host?db=secret", "expected a number from 0 on for the option db"),
        ("redis://host?ssl_cert_reqs=none", "the option ssl_cert_reqs needs TLS"),
        ("rediss://host?ssl_cert_reqs=secret", "expected none, optional or required"),
        ("rediss://host?ssl_cert_req=none", "did you mean ssl_cert_reqs?"),
        ("redis://host?sentinel_password=secret", "needs redis\\+sentinel://"),
        ("redis://host?socket_timeout=1", "leave out the option socket_timeout"),
        ("redis://host?decode_responses=1", "leave out the option decode_responses"),
        ("redis://host?db=1&db=2", "the option db stands twice"),
    ],
)
def test_wrong_options_are_named_but_never_a_part_of_a_password(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem) as refused:
        parse_redis_url(url)
    assert "secret" not in str(refused.value)
    assert "cret" not in str(refused.value).replace("secret", "")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    "url",
    [
        "redis://host", "rediss://host", "redis+sentinel://host/service", "redis+cluster://host",
        "unix:///run/redis.sock",
    ],
)  # fmt: skip
def test_the_protocol_is_resp2_unless_the_url_says_otherwise(url: str) -> None:
    assert parse_redis_url(url).protocol == 2
    parsed = parse_redis_url(f"{url}?protocol=3")
    assert parsed.protocol == 3
    assert "protocol" not in parsed.options | parsed.sentinel_options


FORMS = [
    "redis://{}cache:6380/3", "rediss://{}[::1]?client_name=a", "unix://{}/run/redis.sock?db=3",
    "redis+sentinel://{}one:1,two/main/2?sentinel_username=s&sentinel_password=t",
    "rediss+cluster://{}one:7000,[::1]:7001",
]  # fmt: skip
PASSWORD = "p/a?s#s@w:o%[r]d ü&="


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("of_url", "username", "password"),
    [("", "us@er", PASSWORD), ("us%40er@", None, PASSWORD), ("", None, PASSWORD),
     (":pass@", "us@er", None), ("us%40er:pass@", None, None), ("", "us@er", None)],
)  # fmt: skip
def test_a_login_apart_from_the_url(
    form: str, of_url: str, username: str | None, password: str | None
) -> None:
    url = with_login(form.format(of_url), username, password)
    parsed, plain = parse_redis_url(url), parse_redis_url(form.format(""))
    found = {name: parsed.options.pop(name, None) for name in ("username", "password")}
    assert found == {
        "username": username or ("us@er" if "us" in of_url else None),
        "password": password or ("pass" if "pass" in of_url else None),
    }
    assert parsed == plain, "Sentinels keep their own login"


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("of_url", "username", "password", "part"),
    [(":secret@", None, "secret", "PASSWORD"), ("secret@", "secret", None, "USERNAME"),
     ("secret:secret@", None, "secret", "PASSWORD")],
)  # fmt: skip
def test_no_part_of_a_login_stands_twice(
    form: str, of_url: str, username: str | None, password: str | None, part: str
) -> None:
    with pytest.raises(ValueError, match=f"one in CLARION_REDIS_{part}") as refused:
        with_login(form.format(of_url), username, password)
    assert "secret" not in str(refused.value)
    with pytest.raises(ValueError, match="one in CLARION_REDIS_PASSWORD"):
        with_login("redis://host?password=secret", None, "secret")


def test_a_unix_socket() -> None:
    parsed = parse_redis_url("unix://user:p%40ss@/run/redis.sock?db=3")
    assert parsed.options["path"] == "/run/redis.sock"
    assert (parsed.options["username"], parsed.options["password"]) == ("user", "p@ss")
    assert parsed.options["db"] == 3

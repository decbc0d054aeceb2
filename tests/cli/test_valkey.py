"""The Redis of a local stack: found, checked before use, its password never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.valkey import (
    check_redis,
    find_redis,
    find_server,
    wait_for_redis,
    without_password,
)
from tests.e2e.ports import free_port
from tests.redis_topologies import sentinels
from tests.valkey import Valkey


def test_finds_the_embedded_server() -> None:
    assert find_server().endswith("valkey-server")


def test_accepts_a_redis_that_answers(redis_url: str) -> None:
    check_redis(redis_url)


def test_accepts_a_primary_that_sentinels_name(tmp_path: Path) -> None:
    with sentinels(tmp_path, replicas=1) as topology:
        check_redis(topology.url)
        with pytest.raises(Failure, match=r"no Redis answers at redis\+sentinel://127.*another"):
            check_redis(topology.url.replace("/clarion/", "/another/"))


async def test_waits_until_it_answers(shared_valkey: Valkey) -> None:
    await wait_for_redis(shared_valkey.url)


def test_says_that_none_answers_and_hides_the_password() -> None:
    url = f"redis://user:hunter2@127.0.0.1:{free_port()}/0"
    with pytest.raises(Failure, match=r"no Redis answers at redis://127\.0\.0\.1:") as failure:
        check_redis(url)
    assert str(failure.value).endswith("(CLARION_REDIS_URL): Connection refused")
    assert "hunter2" not in str(failure.value)
    assert failure.value.code is ExitCode.UNREACHABLE


@pytest.mark.parametrize("url", ["redis://:hunter2[@host", "redis://:[hunter2]@host", "redis://[h"])
def test_a_url_that_is_read_wrongly_is_not_shown(url: str) -> None:
    with pytest.raises(Failure, match="CLARION_REDIS_URL is no Redis URL: expected") as failure:
        check_redis(url)
    assert "hunter2" not in str(failure.value)


def test_finds_the_redis_of_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss\n")
    login = {"CLARION_REDIS_USERNAME": "clarion", "CLARION_REDIS_PASSWORD_FILE": str(file)}
    assert find_redis(login) is None, "the stack's own Valkey has no login"
    assert find_redis({"CLARION_REDIS_URL": "redis://a/1"}) == "redis://a/1"
    found = find_redis({**login, "CLARION_REDIS_URL": "redis://a/1"})
    assert found == "redis://clarion:p%40ss@a/1"
    for wrong, message in (
        ({"CLARION_REDIS_URL": "redis://:hunter2@a"}, "got one in CLARION_REDIS_URL and one in"),
        ({"CLARION_REDIS_URL": "http://:hunter2@a"}, "CLARION_REDIS_URL: expected redis://"),
        ({"CLARION_REDIS_URL_FILE": "hunter2"}, "cannot read the file that CLARION_REDIS_URL_FILE"),
        ({"CLARION_REDIS_PASSWORD": "hunter2"}, "CLARION_REDIS_PASSWORD_FILE, got both"),
    ):
        with pytest.raises(Failure, match=message) as failure:
            find_redis({**login, **wrong})
        assert "hunter2" not in str(failure.value)


def test_says_briefly_that_no_sentinel_answers() -> None:
    url = f"redis+sentinel://127.0.0.1:{free_port()}/clarion/0"
    with pytest.raises(Failure) as failure:
        check_redis(url)
    assert str(failure.value) == (
        f"no Redis answers at {url} (CLARION_REDIS_URL): Connection refused"
    )


def test_refuses_a_url_of_something_else() -> None:
    with pytest.raises(Failure, match="CLARION_REDIS_URL is no Redis URL"):
        check_redis("http://127.0.0.1:6379")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379/0"),
        ("rediss://:pa@ss@cache:6380/1?password=x", "rediss://cache:6380/1"),
        ("redis+cluster://:pass@one,[::1]:7000", "redis+cluster://one,[::1]:7000"),
    ],
)
def test_shows_addresses_without_secrets(url: str, shown: str) -> None:
    assert without_password(url) == shown

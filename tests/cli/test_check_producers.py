"""`clarion check`: the Redis of Socket.IO's producers, tried as publishers use it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import redis

from clarion_cli.failure import ExitCode
from tests.cli.clarion import ROOT, Clarion
from tests.cli.test_check import SECRET, about, acl, checked, messages
from tests.e2e.ports import free_port
from tests.redis_topologies import cluster
from tests.valkey import Valkey

URL = "PUBLISHER_SOCKETIO_REDIS_URL"


def documented_rights() -> list[str]:
    """The rights that docs/socketio-producers.md tells operators to give."""
    text = (ROOT / "docs" / "socketio-producers.md").read_text()
    (rules,) = re.findall(r"ACL SETUSER clarion-reader on >PASSWORD (.*?)```", text, re.DOTALL)
    return str(rules).split()


def variables(valkey: Valkey, url: str) -> dict[str, str]:
    return {"CLARION_JWT_SECRET": SECRET, "CLARION_REDIS_URL": valkey.url, URL: url}


def test_the_documented_rights_are_enough_and_nothing_is_left(
    clarion: Clarion, valkey: Valkey
) -> None:
    with redis.Redis(port=valkey.port) as client:
        client.set("clarion:socketio:{socket.io}:reader", "another")
        client.xadd("socket.io", {"nsp": "/", "type": "3", "data": "{}"})
        findings = checked(clarion, **variables(valkey, acl(valkey, *documented_rights())))
        assert about(findings, "ok") >= {URL}
        assert about(findings, "warning") & {URL} == set()
        assert sorted(client.keys("*socket*")) == [
            b"clarion:socketio:{socket.io}:reader",
            b"socket.io",
        ]
        assert client.get("clarion:socketio:{socket.io}:reader") == b"another", "is not disturbed"


@pytest.mark.parametrize(
    "missing",
    ["+hincrby", "+xinfo|stream", "+psubscribe", "&socketio", "~clarion:socketio:*"],
)
def test_a_right_that_is_missing(clarion: Clarion, valkey: Valkey, missing: str) -> None:
    rights = documented_rights()
    rights.remove(missing)
    url = acl(valkey, *rights)
    findings = checked(clarion, code=ExitCode.REFUSED, **variables(valkey, url))
    assert about(findings, "error") == {URL}
    assert "lacks a right" in messages(findings)


def test_channels_that_are_off_need_no_right(clarion: Clarion, valkey: Valkey) -> None:
    rights = [each for each in documented_rights() if not each.startswith("&")]
    off = {"PUBLISHER_SOCKETIO_KEY": "off", "PUBLISHER_SOCKETIO_CHANNEL": "off"}
    findings = checked(clarion, **variables(valkey, acl(valkey, *rights)), **off)
    assert about(findings, "ok") >= {URL}


def test_a_server_that_does_not_answer_or_refuses(clarion: Clarion, valkey: Valkey) -> None:
    away = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    findings = checked(clarion, code=ExitCode.UNREACHABLE, **variables(valkey, away))
    assert about(findings, "error") == {URL}
    assert "hunter2" not in str(findings)
    wrong = acl(valkey, *documented_rights()).replace("app:pass", "app:hunter2")
    findings = checked(clarion, code=ExitCode.REFUSED, **variables(valkey, wrong))
    assert "refuses the login" in messages(findings)
    assert "hunter2" not in str(findings)


def test_a_server_that_drops_entries(clarion: Clarion, valkey: Valkey) -> None:
    with redis.Redis(port=valkey.port) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    findings = checked(clarion, **variables(valkey, valkey.url))
    assert URL in about(findings, "warning")


def test_values_whose_url_only_the_cluster_knows(clarion: Clarion, valkey: Valkey) -> None:
    file = clarion.folder / "values.yaml"
    socketio = {"existingSecret": {"name": "producers", "key": "url"}}
    values = {
        "settings": {"CLARION_REDIS_URL": valkey.url},
        "redis": {"url": valkey.url},
        "auth": {"secret": SECRET},
        "publisher": {"socketio": socketio},
    }
    file.write_text(json.dumps(values))
    findings = checked(clarion, "--values", str(file))
    assert "only the cluster knows" in messages(findings, "warning")


@pytest.mark.timeout(300)
def test_a_cluster_and_a_url_that_names_none(
    clarion: Clarion, valkey: Valkey, tmp_path: Path
) -> None:
    with cluster(tmp_path / "nodes", primaries=2) as topology:
        assert URL in about(checked(clarion, **variables(valkey, topology.url)), "ok")
        node = f"redis://{topology.nodes[0].address}/0"
        findings = checked(clarion, code=ExitCode.SETUP, **variables(valkey, node))
        assert "node of a cluster" in messages(findings)

"""Centrifugo is started with history and tokens; without its binary, the error says how to get it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from urllib.parse import parse_qs

import jwt
import msgspec
import pytest

from clarion_bench import centrifugo
from clarion_bench.clarion import SECRET
from clarion_bench.fanout import FanoutOptions, fanout
from clarion_bench.laboratory import laboratory
from clarion_bench.packages import PackagesError
from clarion_bench.publishing import PublishingOptions, publishing
from clarion_bench.results import Trial


@pytest.fixture
def binary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "centrifugo"
    path.touch()
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CENTRIFUGO", str(path))
    return path


def test_a_missing_binary_is_an_error_that_helps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CENTRIFUGO", "/nowhere")
    with pytest.raises(PackagesError, match="go install"):
        centrifugo.binary()


def test_a_node_keeps_history_and_shares_redis(binary: Path) -> None:
    launch = centrifugo.node(8000, "redis://127.0.0.1:1/0")
    assert launch.command == [str(binary)]
    assert launch.env["CENTRIFUGO_CHANNEL_WITHOUT_NAMESPACE_FORCE_RECOVERY"] == "true"
    assert launch.env["CENTRIFUGO_ENGINE_REDIS_ADDRESS"] == "redis://127.0.0.1:1/0"


def test_each_socket_has_a_token_of_its_own() -> None:
    subjects = []
    for query in centrifugo.queries(2):
        (connect,) = parse_qs(query.removeprefix("?"))["cf_connect"]
        token = msgspec.json.decode(connect)["token"]
        claims = jwt.decode(token, SECRET, algorithms=["HS256"])
        assert claims["channels"] == ["bench"]
        subjects.append(claims["sub"])
    assert subjects == ["bench-0", "bench-1"]


def test_a_batch_is_one_request_with_a_command_per_event() -> None:
    single = centrifugo.message(8000, 1, b"{}")
    assert single.endswith(b'\r\n\r\n{"channel":"bench","data":{}}')
    batch = centrifugo.message(8000, 2, b"{}")
    assert msgspec.json.decode(batch.partition(b"\r\n\r\n")[2]) == {
        "commands": [{"publish": {"channel": "bench", "data": {}}}] * 2
    }


@pytest.mark.skipif(
    "CENTRIFUGO" not in os.environ and shutil.which("centrifugo") is None,
    reason="Centrifugo is not installed",
)
def test_every_socket_receives_every_event() -> None:
    options = FanoutOptions(
        servers=["centrifugo"],
        connections=40,
        rates=[20.0],
        seconds=1.0,
        warmup_seconds=0.3,
        idle=0,
        burst=False,
    )
    calls = PublishingOptions(servers=["centrifugo"], batches=[1, 10], seconds=0.5)
    with laboratory() as bench:
        (trial,) = fanout(options, bench, lambda _: None)
        single, batch = publishing(calls, bench, lambda _: None)
    assert isinstance(trial, Trial)
    assert trial.complete
    assert single.refusals == batch.refusals == 0

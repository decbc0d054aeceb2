"""Single events to a few sockets of a real server: the first one has each event before the last."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import psutil
import pytest
from typer.testing import CliRunner

from clarion_bench.commands import app
from clarion_bench.crowd import Loader
from clarion_bench.laboratory import laboratory
from clarion_bench.tails import SERVERS, TailsOptions, tails


def test_every_event_reaches_the_first_socket_before_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A socket without an event, or with one twice, would be a `LoadError`."""
    stopped: list[int] = []
    stop = Loader.stopped

    @contextlib.contextmanager
    def noted(loader: Loader) -> Iterator[None]:
        with stop(loader):
            while psutil.Process(loader.pid).status() != psutil.STATUS_STOPPED:
                time.sleep(0.01)
            stopped.append(loader.pid)
            yield

    monkeypatch.setattr(Loader, "stopped", noted)
    options = TailsOptions(
        servers=["fastapi", "clarion-deflate"], connections=30, events=6, rate=20
    )
    with laboratory() as bench:
        results = list(tails(options, bench, lambda _: None))

    assert [result.server for result in results] == ["fastapi", "clarion-deflate"]
    for result in results:
        assert (result.sockets, result.events) == (30, 6)
        assert 0 < result.first_p50_ms < result.last_p50_ms <= result.last_p99_ms
        assert result.first_p50_ms <= result.first_p99_ms
        assert result.reader_ms > 0
        assert result.busy.server > 0
    # Seven times each: the reader's own time is measured with all sockets ready.
    assert (len(stopped), len(set(stopped))) == (14, 2)


@pytest.mark.parametrize("name", ["clarion-polling", "socketio-polling"])
def test_servers_of_clients_that_poll_do_not_take_part(name: str) -> None:
    assert name not in SERVERS
    done = CliRunner().invoke(app, ["tails", "--servers", name])
    assert done.exit_code == 2

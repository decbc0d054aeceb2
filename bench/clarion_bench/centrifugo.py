"""Centrifugo under test: how to start it, its tokens, and how events get in.

Its binary is the one that CENTRIFUGO names, or `centrifugo` on PATH. History and recovery are on,
as Clarion's are, and its nodes share Redis. Every socket belongs to another user, with a token that
subscribes it to one channel. Sockets use its unidirectional WebSocket, which sends one frame for
each event and needs no commands from clients.
"""

import contextlib
import http.client
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import msgspec

from clarion_bench.callers import request
from clarion_bench.clarion import SECRET, RefusedError, token, user
from clarion_bench.dialects import Dialect
from clarion_bench.launch import Launch
from clarion_bench.packages import PackagesError
from clarion_bench.processes import answers_ok, free_port, running
from clarion_bench.publishers import CHANNEL

DIALECT = Dialect("/connection/uni_websocket", greeting=((b'{"connect":', b""),))
_API_KEY = "bench"
_BATCH = "/api/batch"
_EXPECTED_STATUS = 200
# As much as Clarion keeps by default.
_CHANNEL = {
    "CHANNEL_WITHOUT_NAMESPACE_FORCE_RECOVERY": "true",
    "CHANNEL_WITHOUT_NAMESPACE_HISTORY_SIZE": "10000",
    "CHANNEL_WITHOUT_NAMESPACE_HISTORY_TTL": "600s",
}


def binary() -> str:
    """Return the path of Centrifugo's binary.

    Raises:
        PackagesError: there is none.
    """
    path = os.environ.get("CENTRIFUGO") or shutil.which("centrifugo")
    if path is None or not Path(path).is_file():
        raise PackagesError(
            "expected Centrifugo's binary on PATH or in CENTRIFUGO; with Go: "
            "go install github.com/centrifugal/centrifugo/v6@latest"
        )
    return path


def node(port: int, redis_url: str) -> Launch:
    """One node on one core, with its default settings except for history."""
    settings = {
        **_CHANNEL,
        "CLIENT_ALLOWED_ORIGINS": "*",
        "CLIENT_TOKEN_HMAC_SECRET_KEY": SECRET,
        "ENGINE_REDIS_ADDRESS": redis_url,
        "ENGINE_REDIS_PREFIX": "bench-centrifugo",
        "ENGINE_TYPE": "redis",
        "HEALTH_ENABLED": "true",
        "HTTP_API_KEY": _API_KEY,
        "HTTP_SERVER_ADDRESS": "127.0.0.1",
        "HTTP_SERVER_PORT": str(port),
        "LOG_LEVEL": "error",
        "UNI_WEBSOCKET_ENABLED": "true",
    }
    return Launch(
        [binary()],
        env={
            "GOMAXPROCS": "1",
            **{f"CENTRIFUGO_{name}": value for name, value in settings.items()},
        },
        ready=lambda: answers_ok(f"http://127.0.0.1:{port}/health"),
    )


def queries(connections: int) -> list[str]:
    """Return one query string per socket, each with another user's token."""
    return [f"?cf_connect={quote(_connect(user(index)))}" for index in range(connections)]


def message(port: int, batch: int, event: bytes) -> bytes:
    """Return the request that publishes events; for 1, that of the endpoint for single ones."""
    command = b'{"channel":"%b","data":%b}' % (CHANNEL.encode(), event)
    key = f"X-API-Key: {_API_KEY}"
    if batch == 1:
        return request(port, "/api/publish", key, command)
    commands = b",".join([b'{"publish":%b}' % command] * batch)
    return request(port, _BATCH, key, b'{"commands":[%b]}' % commands)


class CentrifugoPublisher:
    """Publishes through a second node, beside the load client, which sends events on by Redis."""

    def __init__(self, redis_url: str) -> None:
        self._stack = contextlib.ExitStack()
        folder = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="clarion-bench-"))
        port = free_port()
        launch = node(port, redis_url)
        process = self._stack.enter_context(
            running(
                "centrifugo-publisher",
                launch.command,
                cores=frozenset(),  # those of the process that publishes
                directory=Path(folder),
                env=launch.env,
            )
        )
        process.wait_ready(launch.ready)
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=30)

    def publish(self, payloads: Sequence[bytes]) -> None:
        """Publish events in order, in one request; return when Redis has them."""
        commands = [
            {"publish": {"channel": CHANNEL, "data": msgspec.Raw(payload)}} for payload in payloads
        ]
        headers = {"X-API-Key": _API_KEY, "Content-Type": "application/json"}
        self._http.request("POST", _BATCH, msgspec.json.encode({"commands": commands}), headers)
        answer = self._http.getresponse()
        text = answer.read()
        if answer.status != _EXPECTED_STATUS or b'"error"' in text:
            raise RefusedError(f"Centrifugo answered {answer.status}: {text[:200]!r}")

    def close(self) -> None:
        """End the node."""
        self._http.close()
        self._stack.close()


def _connect(subject: str) -> str:
    """A connect request with a token that subscribes the user to the channel."""
    return msgspec.json.encode({"token": token(subject, channels=[CHANNEL])}).decode()

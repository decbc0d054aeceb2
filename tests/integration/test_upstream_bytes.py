"""Backends whose answers are no HTTP, break off, or never end: a port that sends raw bytes."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
from collections.abc import AsyncIterator

import pytest

from tests.integration.pod import SECONDS, started
from tests.integration.sockets import opened
from tests.integration.upstream import SECRET
from tests.tcp import listening, port_of
from tests.valkey import Valkey

OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
# Without a time: the names of tests hold it, and must be the same for all workers.
PACKED = gzip.compress(b'{"reply": 1}', mtime=0)


@contextlib.asynccontextmanager
async def sending(answer: bytes, *, then: bytes = b"") -> AsyncIterator[int]:
    """A port that answers each request with these bytes, then with others again and again.

    Without others, it closes the connection.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            while then:
                writer.write(then)
                await writer.drain()
                await asyncio.sleep(0.001)

    async with listening(serve) as server:
        yield port_of(server)


@pytest.mark.parametrize(
    ("answer", "then", "outcome", "code"),
    [
        (b"", b"", "unreachable", "unavailable"),
        (b"\x00\xff garbage", b"", "unreachable", "unavailable"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", b"", "unreachable", "unavailable"),
        (OK + b"no header\r\n\r\n", b"", "unreachable", "unavailable"),
        (OK + b"Content-Length: -1\r\n\r\n", b"", "unreachable", "unavailable"),
        (OK + b"Content-Length: 100\r\n\r\n{", b"", "unreachable", "unavailable"),
        (CHUNKED + b"zz\r\n", b"", "unreachable", "unavailable"),
        (CHUNKED + b"5\r\n{", b"", "unreachable", "unavailable"),
        (OK, b"X-Name: value\r\n", "unreachable", "unavailable"),
        (OK + b"X-Long: ", b"x" * 10_000, "unreachable", "unavailable"),
        (OK + b"Content-Length: 100\r\n\r\n", b"x", "invalid_answer", "internal"),
        (CHUNKED, b"1\r\nx\r\n", "timeout", "unavailable"),
        (CHUNKED, b"ffff\r\n" + b"x" * 0xFFFF + b"\r\n", "invalid_answer", "internal"),
        (
            OK + b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(PACKED) + PACKED,
            b"",
            "invalid_answer",
            "internal",
        ),
    ],
)
async def test_the_client_is_told_and_the_log_has_no_secret(
    shared_valkey: Valkey,
    namespace: str,
    capfd: pytest.CaptureFixture[str],
    answer: bytes,
    then: bytes,
    outcome: str,
    code: str,
) -> None:
    async with sending(answer, then=then) as port:
        options = {
            "upstream_url": f"http://me:hush1@127.0.0.1:{port}/hush2?token=hush3",
            "upstream_secret": SECRET,
            "upstream_retries": 0,
            "upstream_seconds": 1 if outcome == "timeout" else SECONDS / 2,
        }
        async with (
            started(shared_valkey.url, namespace, **options) as pod,
            opened(pod) as client,
        ):
            error = await client.ask("x")
            assert (error["kind"], error["code"]) == ("error", code)
            assert await pod.metric("clarion_upstream_calls_total", outcome=outcome) == 1
    said = capfd.readouterr()
    assert "upstream failed" in said.out + said.err
    assert "hush" not in said.out + said.err + str(error)

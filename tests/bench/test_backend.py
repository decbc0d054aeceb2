"""The bench's backend finds the end of a request, and answers all but those that hang."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from clarion_bench.backend import ANSWERED, HANGING, Answering, request_size
from clarion_bench.callers import CallError
from clarion_bench.dialects import CLARION
from clarion_bench.senders import Senders, Sent
from tests.integration.pod import Pod, started
from tests.integration.upstream import SECRET
from tests.valkey import Valkey

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nX: y\r\n\r\nbody"


def test_a_request_ends_with_its_body() -> None:
    assert request_size(REQUEST) == len(REQUEST)
    assert request_size(REQUEST + REQUEST) == len(REQUEST)


@pytest.mark.parametrize("size", range(len(REQUEST)))
def test_a_cut_request_is_waited_for(size: int) -> None:
    assert request_size(REQUEST[:size]) is None


@contextlib.asynccontextmanager
async def asking(valkey: Valkey, namespace: str, **options: object) -> AsyncIterator[Pod]:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    upstream = {
        "upstream_url": f"http://127.0.0.1:{port}/",
        "upstream_secret": SECRET,
        "upstream_seconds": 1,
        "upstream_retries": 0,
        **options,
    }
    async with server, started(valkey.url, namespace, **upstream) as running:
        yield running


@pytest.fixture
async def pod(shared_valkey: Valkey, namespace: str) -> AsyncIterator[Pod]:
    async with asking(shared_valkey, namespace, messages_per_second=10_000) as running:
        yield running


async def test_senders_count_answers_and_errors(pod: Pod) -> None:
    def send(type_: str) -> Sent:
        """At least one message of each client, with its answer."""
        total = Sent()
        with contextlib.closing(Senders(pod.port, CLARION, [""] * 3)) as senders:
            while total.answered < 3:
                sent = senders.run(type_, 0.05)
                total.answered += sent.answered
                total.refusals += sent.refusals
                total.latencies_ns += sent.latencies_ns
            senders.settle()
        return total

    answered = await asyncio.to_thread(send, ANSWERED)
    assert answered.refusals == 0
    assert len(answered.latencies_ns) == answered.answered
    hanging = await asyncio.to_thread(send, HANGING)
    assert hanging.refusals == hanging.answered


async def test_senders_say_why_a_connection_was_closed(
    shared_valkey: Valkey, namespace: str
) -> None:
    def send(port: int) -> None:
        with contextlib.closing(Senders(port, CLARION, [""])) as senders:
            senders.run(ANSWERED, 60)

    async with asking(
        shared_valkey, namespace, messages_per_second=0.01, message_burst=1
    ) as running:
        with pytest.raises(CallError, match="4429 too many messages"):
            await asyncio.to_thread(send, running.port)

"""The example of a backend in FastAPI: it answers a gateway, and nobody else."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import pytest
import uvicorn

from clarion_contract.service.webhooks import Signer
from clarion_examples.upstream.app import app
from tests.integration.pod import eventually, started, token
from tests.integration.sockets import opened
from tests.integration.upstream import SECRET
from tests.valkey import Valkey

BODY = b'{"clariontype":"other"}'


@pytest.fixture
async def url(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[str]:
    monkeypatch.setenv("CLARION_SECRET", SECRET)
    options = {"log_config": None, "lifespan": "off", "timeout_graceful_shutdown": 1}
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=0, **options))
    serving = asyncio.ensure_future(server.serve())

    async def runs() -> bool:
        return server.started

    await eventually(runs, what="the example")
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}/clarion"
    server.should_exit = True
    await serving


async def test_what_one_says_the_others_hear(
    shared_valkey: Valkey, namespace: str, url: str
) -> None:
    upstream = {"upstream_url": url, "upstream_secret": SECRET}
    async with (
        started(shared_valkey.url, namespace, **upstream) as pod,
        opened(pod, token=token("alice")) as alice,
        opened(pod) as other,
    ):
        said = {"sender": "alice", "text": "hi"}
        assert (await alice.ask("room.say", {"text": "hi"}))["data"] == said
        (heard,) = await other.events(1)
        assert heard["data"] == said
        assert (await alice.ask("room.say", {"text": 1}))["code"] == "invalid"
        assert (await alice.ask("other"))["code"] == "unknown_type"


@pytest.mark.parametrize(
    ("secret", "seconds", "body", "status"),
    [
        (SECRET, 0, BODY, 200),
        ("whsec_" + "A" * 32, 0, BODY, 403),
        (SECRET, -400, BODY, 403),
        (SECRET, 400, BODY, 403),
        (SECRET, 0, BODY + b" ", 403),
    ],
)
async def test_only_the_gateways_requests_count(
    url: str, secret: str, seconds: int, body: bytes, status: int
) -> None:
    headers = Signer([secret]).headers("msg_1", int(time.time()) + seconds, BODY)
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(url, content=body, headers=headers)
        assert answer.status_code == status
        del headers["webhook-signature"]
        assert (await client.post(url, content=body, headers=headers)).status_code == 403


async def test_both_secrets_count_while_one_is_changed(url: str) -> None:
    headers = Signer(["the new secret, of 24 bytes or more", SECRET]).headers(
        "msg_1", int(time.time()), BODY
    )
    async with httpx.AsyncClient(trust_env=False) as client:
        assert (await client.post(url, content=BODY, headers=headers)).status_code == 200

"""Both services with exactly the ACL that docs/kubernetes.md lists."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.integration.pod import started, token
from tests.integration.sockets import opened
from tests.publisher.service import serving
from tests.redis_topologies import wait_until
from tests.valkey import Valkey

PAGE = Path(__file__).parents[2] / "docs" / "kubernetes.md"
EVENT = {"audience": {"user": "alice"}, "type": "tick", "data": 1, "key": "k"}
NAMESPACE = "clarion"


def documented() -> list[str]:
    """The command of the page, in words."""
    (command,) = re.findall(
        r"^ACL SETUSER clarion .*?(?=^```)", PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    return str(command).split()


@pytest.fixture
def url(valkey: Valkey) -> Iterator[str]:
    with redis.Redis(port=valkey.port) as admin:
        admin.execute_command(*documented())
        yield f"redis://clarion:PASSWORD@127.0.0.1:{valkey.port}/0"
        assert refused(admin) == set()


def refused(admin: redis.Redis) -> set[Any]:
    return {entry["object"] for entry in admin.acl_log()}


async def test_it_is_enough_for_both_services(url: str) -> None:
    with serving(url, namespace=NAMESPACE) as publisher, publisher.client(timeout=60) as client:

        def ready() -> bool:
            return publisher.internal("/readyz").is_success

        def post(path: str, **body: Any) -> int:
            return client.post(path, json=body).status_code

        await asyncio.to_thread(wait_until, ready, "a ready publisher")
        async with started(url, NAMESPACE, probe_interval_seconds=0.1, heartbeat_seconds=1) as pod:
            async with opened(pod, token=token("alice")) as alice:
                for _ in range(2):
                    status = await asyncio.to_thread(post, "/v1/events", **EVENT)
                    assert status in (200, 201)
                (event,) = await alice.events(1)
            async with opened(pod, since=event["id"], token=token("alice")) as alice:
                assert alice.welcome["resumed"] is True

                def known() -> bool:
                    return bool(client.get("/v1/users/alice").json()["connected"])

                await asyncio.to_thread(wait_until, known, "presence")
                assert await asyncio.to_thread(post, "/v1/users/alice/disconnect") == 200
                await alice.closed()
            assert await asyncio.to_thread(post, "/v1/users/bob/revoke") == 200
            connections = await asyncio.to_thread(client.get, "/v1/connections")
            assert connections.status_code == 200

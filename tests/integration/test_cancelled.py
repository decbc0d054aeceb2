"""A service that is cancelled while it starts, runs or ends leaves nothing open."""

from __future__ import annotations

import asyncio
import contextlib
from typing import NoReturn

import pytest

from clarion_contract.service.serving import bind
from clarion_contract.service.settings import InvalidSettings
from clarion_gateway import app as gateway_app
from clarion_gateway.app import running as running_gateway
from clarion_publisher import app as publisher_app
from clarion_publisher.app import running as running_publisher
from clarion_publisher.settings import PublisherSettings
from tests.cancelling import cancelled_at_each_step, open_connections
from tests.conftest import SECRET
from tests.integration.pod import settings_of


async def test_a_gateway(redis_url: str, namespace: str) -> None:
    async def life() -> None:
        async with running_gateway(settings_of(redis_url, namespace)):
            await asyncio.sleep(0.05)

    await cancelled_at_each_step(life)


async def test_a_publisher(redis_url: str, namespace: str) -> None:
    async def life() -> None:
        settings = PublisherSettings(redis_url=redis_url, namespace=namespace, jwt_secret=SECRET)
        with contextlib.closing(bind("127.0.0.1", 0)) as port:
            async with running_publisher(settings, port):
                await asyncio.sleep(0.05)

    await cancelled_at_each_step(life)


def _refuses(*_: object) -> NoReturn:
    raise InvalidSettings(["wrong"])


async def test_a_gateway_that_refuses_its_settings(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_app, "Parts", _refuses)
    before = open_connections()
    with pytest.raises(InvalidSettings):
        async with running_gateway(settings_of(redis_url, namespace)):
            pass
    assert not open_connections() - before


async def test_a_publisher_that_refuses_its_settings(
    redis_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publisher_app, "_callers", _refuses)
    settings = PublisherSettings(redis_url=redis_url, namespace=namespace, jwt_secret=SECRET)
    before = open_connections()
    with contextlib.closing(bind("127.0.0.1", 0)) as port, pytest.raises(InvalidSettings):
        async with running_publisher(settings, port):
            pass
    assert not open_connections() - before

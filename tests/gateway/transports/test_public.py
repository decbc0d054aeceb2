"""Answers of the public port beside connections: the AsyncAPI document of the dev profile."""

from __future__ import annotations

import httpx

from clarion_gateway.settings import GatewaySettings
from clarion_gateway.transports.public import public_app
from tests.conftest import SECRET


def client(**settings: object) -> httpx.AsyncClient:
    made = GatewaySettings(**{"jwt_secret": SECRET, **settings})
    app = public_app(made, lambda: False, lambda url: {"url": url})
    transport = httpx.ASGITransport(app=app)
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8001")


async def test_the_asyncapi_document_names_the_gateway_that_was_asked() -> None:
    answer = await client(profile="dev", path_prefix="/live").get("/live/asyncapi.json")
    assert answer.json() == {"url": "http://127.0.0.1:8001/live"}
    assert answer.headers["cache-control"] == "no-store"


async def test_it_is_for_the_dev_profile_only() -> None:
    assert (await client(profile="production").get("/asyncapi.json")).status_code == 404

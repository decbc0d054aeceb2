"""The development page: its files load nothing from elsewhere, and its tokens are accepted."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from email.message import Message
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest
from starlette.applications import Starlette

from clarion_contract.identity.keys import FixedKey
from clarion_contract.identity.tokens import TokenVerifier
from clarion_dev_page import page as module
from clarion_dev_page.page import FILES, routes
from clarion_gateway.settings import GatewaySettings
from tests.conftest import SECRET

FOLDER = resources.files("clarion_dev_page") / "static"
TEXTS = {file.name: file.read_text() for file in FOLDER.iterdir()}


def client(end_at_once: Callable[[], None] = lambda: None, **settings: object) -> httpx.AsyncClient:
    made = GatewaySettings(**{"jwt_secret": SECRET, "profile": "dev", **settings})
    transport = httpx.ASGITransport(app=Starlette(routes=routes(made, end_at_once=end_at_once)))
    return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000")


def verifier(audience: str | None = None) -> TokenVerifier:
    return TokenVerifier(
        FixedKey(SECRET), algorithms=["HS256"], audiences=[audience] if audience else []
    )


async def test_serves_the_page_and_each_of_its_files() -> None:
    page = client()
    assert (await page.get("/")).headers["content-type"].startswith("text/html")
    assert set(FILES) == TEXTS.keys() - {"page.html"}
    for name in FILES:
        assert (await page.get(f"/dev/{name}")).status_code == 200
    assert (await page.get("/dev/page.html")).status_code == 404
    assert (await page.get("/dev/..%2fsettings.py")).status_code == 404


async def test_its_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    page = client(dev_publisher_url="https://publisher.example/api")
    policy = (await page.get("/")).headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "connect-src 'self' ws: wss: https://publisher.example;" in policy


def test_the_page_keeps_to_its_policy() -> None:
    page = TEXTS["page.html"]
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=|javascript:", page) == []
    for attribute in re.findall(r'\b(?:src|href)="([^"]+)"', page):
        assert attribute.startswith("dev/")
    for name, text in TEXTS.items():
        assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text) == [], name


async def test_hands_out_tokens_for_users_that_may_ask_for_every_topic() -> None:
    answer = (await client().post("/dev/token", json={"user": "alice"})).json()
    claims = verifier().verify(answer["token"])
    assert (claims.subject, claims.scopes) == ("alice", frozenset())
    payload = jwt.decode(answer["token"], options={"verify_signature": False})
    assert payload["subscribe"] == ["**"]


async def test_links_to_the_publisher_and_the_other_gateways() -> None:
    settings = {
        "jwt_secret": None,
        "jwt_jwks_url": "https://issuer.example/jwks",
        "dev_publisher_url": "https://publisher.example/api",
        "dev_gateway_urls": "http://127.0.0.1:8001/,http://127.0.0.1:8002/",
    }
    links = (await client(**settings).get("/dev/links")).json()
    assert links["publisher_url"] == "https://publisher.example/api"
    assert links["gateway_urls"] == ["http://127.0.0.1:8001/", "http://127.0.0.1:8002/"]


@pytest.mark.parametrize("socketio", [True, False], ids=["on", "off"])
async def test_offers_socketio_where_the_library_has_been_fetched(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, socketio: bool
) -> None:
    """`make run` fetches it where npm is; nothing of it stands in the package."""
    library = tmp_path / "socket.io.esm.min.js"
    monkeypatch.setattr(module, "SOCKETIO_CLIENT", str(library))
    page = client(socketio=socketio, socketio_path="/rt/socket.io")
    assert (await page.get("/dev/links")).json()["socketio_path"] is None
    assert (await page.get("/dev/socket.io.js")).status_code == 404
    library.write_text("export const io = null;")
    links = (await page.get("/dev/links")).json()
    assert links["socketio_path"] == ("/rt/socket.io/" if socketio else None)
    answer = await page.get("/dev/socket.io.js")
    assert answer.headers["content-type"].startswith("text/javascript")
    assert answer.text == "export const io = null;"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://forge.example/clarion/README.md", None),
        ("https://clarion.test/docs", "https://clarion.test/docs"),
    ],
    ids=["a placeholder", "a real address"],
)
async def test_links_to_the_documentation_once_it_has_an_address(
    monkeypatch: pytest.MonkeyPatch, url: str, shown: str | None
) -> None:
    found = Message()
    found["Project-URL"] = "Repository, https://clarion.test"
    found["Project-URL"] = f"Documentation, {url}"
    monkeypatch.setattr(metadata, "metadata", lambda name: found)
    assert (await client().get("/dev/links")).json()["docs_url"] == shown


async def test_hands_out_what_publishing_takes() -> None:
    session = (await client(jwt_audience="clarion").get("/dev/session")).json()
    assert session["publisher_url"] == "http://127.0.0.1:8080"
    claims = verifier("clarion").verify(session["publish_token"])
    assert claims.scopes == {
        "publish:all",
        "publish:authenticated",
        "publish:user",
        "publish:topic",
    }


@pytest.mark.parametrize(
    "body", ["", "{}", '{"user": ""}', '{"user": 7}', '{"user": "%s"}' % ("x" * 300)]
)
async def test_refuses_what_names_no_user(body: str) -> None:
    response = await client().post("/dev/token", content=body)
    assert response.status_code == 400
    assert "expected" in response.json()["detail"]


async def test_refuses_a_body_that_is_too_large() -> None:
    assert (await client().post("/dev/token", content="x" * 5_000)).status_code == 413


async def test_has_no_tokens_to_give_where_somebody_else_signs() -> None:
    page = client(jwt_secret=None, jwt_jwks_url="https://issuer.example/jwks")
    assert (await page.get("/dev/session")).status_code == 501
    assert (await page.post("/dev/token", json={"user": "alice"})).status_code == 501


async def test_ends_its_gateway_if_a_setting_says_so() -> None:
    ended = asyncio.Event()
    page = client(ended.set, dev_kill=True, pod="gateway-1")
    assert (await page.get("/dev/links")).json()["can_kill"] is True
    answer = await page.post("/dev/kill", json={"pod": "gateway-1"})
    assert answer.json() == {"pod": "gateway-1"}
    await ended.wait()


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (415, {"content": '{"pod": "gateway-1"}'}),
        (415, {"content": '{"pod": "gateway-1"}', "headers": {"content-type": "text/plain"}}),
        (403, {"json": {"pod": "gateway-1"}, "headers": {"origin": "http://127.0.0.1:9"}}),
        (403, {"json": {"pod": "gateway-1"}, "headers": {"origin": "null"}}),
        (403, {"json": {"pod": "gateway-1"}, "headers": {"origin": "http://[no-address"}}),
        (421, {"json": {"pod": "gateway-1"}, "headers": {"host": "evil.example"}}),
        (409, {"json": {"pod": "gateway-2"}}),
        (400, {"json": {}}),
        (413, {"json": {"pod": "x" * 5_000}}),
    ],
)
async def test_nobody_else_ends_its_gateway(status: int, request_: dict[str, Any]) -> None:
    def end() -> None:
        raise AssertionError("the gateway ended")

    page = client(end, dev_kill=True, pod="gateway-1")
    refused = await page.post("/dev/kill", **request_)
    assert refused.status_code == status
    assert "expected" in refused.json()["detail"] or status == 409


async def test_cannot_end_its_gateway_otherwise() -> None:
    page = client()
    assert (await page.get("/dev/links")).json()["can_kill"] is False
    assert (await page.post("/dev/kill", json={"pod": "gateway-1"})).status_code == 404


PATHS = ("/", *(f"/dev/{name}" for name in FILES), "/dev/links", "/dev/session")
OWN = ("127.0.0.1:8000", "[::1]:8000", "localhost", "LOCALHOST:80", "a.localhost", "192.168.1.7")
FOREIGN = (
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evillocalhost",
    "127.0.0.1@evil.example",
    "[",
    "",
)


@pytest.mark.parametrize("host", OWN)
async def test_answers_to_names_of_this_machine(host: str) -> None:
    page = client()
    for path in PATHS:
        assert (await page.get(path, headers={"host": host})).status_code == 200, path
    answer = await page.post("/dev/token", json={"user": "alice"}, headers={"host": host})
    assert answer.status_code == 200


@pytest.mark.parametrize("host", FOREIGN)
async def test_answers_to_no_name_that_a_stranger_may_point_here(host: str) -> None:
    """DNS rebinding: a page's own name suddenly leads to 127.0.0.1."""
    page = client()
    for path in PATHS:
        answer = await page.get(path, headers={"host": host})
        assert answer.status_code == 421, path
        assert "expected localhost" in answer.json()["detail"]
    answer = await page.post("/dev/token", json={"user": "alice"}, headers={"host": host})
    assert answer.status_code == 421
    assert "token" not in answer.json()


async def test_answers_to_hosts_whose_pages_may_connect() -> None:
    page = client(allowed_origins=["https://dev.example.com"])
    assert (await page.get("/", headers={"host": "dev.example.com"})).status_code == 200
    assert (await page.get("/", headers={"host": "evil.example"})).status_code == 421

"""The example that comes from NestJS, over two gateways, with the library unmodified."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from playwright.async_api import async_playwright, expect

from tests.browser import CHROMIUM, FLAGS, needs_chromium
from tests.cli.clarion import SECRET
from tests.clients.balancer import scattered
from tests.clients.socketio.conftest import MODULES, Drive, Driven
from tests.clients.socketio.test_polling import TRANSPORTS
from tests.e2e.backend import example
from tests.e2e.stack import Stack, make_stack
from tests.valkey import Valkey

NEWEST = MODULES[0]


@pytest.fixture(scope="module")
def stack(shared_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    made = make_stack(
        tmp_path_factory.mktemp("stack"),
        shared_valkey.url,
        "socketio-example",
        handlers="clarion_examples.socketio.handlers:handlers",
    )
    with made.running():
        yield made


@pytest.fixture
async def balanced(stack: Stack) -> AsyncIterator[str]:
    """One address for both gateways, which gives each request to the other one."""
    async with scattered([httpx.URL(each.url).port or 0 for each in stack.gateways]) as url:
        yield url


@pytest.fixture
def backend(stack: Stack, folder: Path, balanced: str) -> Iterator[str]:
    """The example's backend, run as its README says."""
    client = folder / "node_modules" / NEWEST / "dist" / "socket.io.esm.min.js"
    with example(
        "clarion_examples.socketio.app:app",
        CLARION_JWT_SECRET=SECRET,
        PUBLISHER_URL=stack.publisher.url,
        GATEWAY_URL=balanced,
        SOCKETIO_CLIENT=str(client),
    ) as url:
        yield url


@dataclass
class Person:
    """A simulated user session: logged in at the backend, and connected with its token."""

    backend: httpx.AsyncClient

    async def auth(self, **fields: object) -> dict[str, Any]:
        token: dict[str, Any] = (await self.backend.get("/token")).json()
        return token | {"page": 2} | fields

    async def announce(self, audience: str, **data: object) -> None:
        assert (await self.backend.post(f"/announce/{audience}", json=data)).status_code == 202


LogIn = Callable[[str | None], Awaitable[Person]]


@pytest.fixture
async def log_in(backend: str) -> AsyncIterator[LogIn]:
    """Begin a session for a user; None: a guest."""
    async with contextlib.AsyncExitStack() as stack:

        async def log_in(name: str | None) -> Person:
            made = httpx.AsyncClient(base_url=backend, trust_env=False)
            client = await stack.enter_async_context(made)
            if name is not None:
                assert (await client.post(f"/login/{name}")).status_code == 204
            return Person(client)

        yield log_in


def heard(client: Driven, *names: str) -> list[tuple[str, list[Any]]]:
    """The events of these names that a client has had."""
    events = [(each["name"], each["args"]) for each in client.reports if each["kind"] == "event"]
    return [each for each in events if each[0] in names]


@pytest.mark.parametrize("module", [NEWEST])
@pytest.mark.parametrize("transports", TRANSPORTS, ids=["polling only", "with an upgrade"])
async def test_three_audiences_hear_what_is_theirs(
    drive: Drive, log_in: LogIn, balanced: str, transports: list[str]
) -> None:
    alice, bob, guest = [await log_in(name) for name in ("alice", "bob", None)]
    options = {"transports": transports}
    async with (
        drive(balanced, auth=await alice.auth(), **options) as phone,
        drive(balanced, auth=await alice.auth(), **options) as laptop,
        drive(balanced, auth=await bob.auth(), **options) as bobs,
        drive(balanced, auth=await guest.auth(), **options) as guests,
    ):
        connect = await phone.told("connect")
        for each in (laptop, bobs, guests):
            await each.told("connect")
        state = {"user": "alice", "socket": connect["sid"], "page": 2}
        assert await phone.ask("whoami") == [state]

        # The interceptor, to each of its audiences.
        assert await phone.ask("say", {"text": " hi "}) == [{"by": "alice", "text": "hi"}]
        assert await phone.ask("status", {"text": "busy"}) == [{"by": "alice", "text": "busy"}]
        assert await phone.ask("draft", {"text": "Dear"}) == [{"text": "Dear"}]
        # The propagator, in a handler and in the backend.
        assert await bobs.ask("whisper", {"to": "alice", "text": "psst"}) == [None]
        await guest.announce("alice", n=1)
        await guest.announce("authenticated", n=2)
        await guest.announce("all", n=3)
        for each in (phone, laptop, bobs, guests):
            await each.told("event", name="announcement", args=[{"n": 3}])

        names = ("say", "status", "draft", "whisper", "announcement")
        said = ("say", [{"by": "alice", "text": "hi"}])
        busy = ("status", [{"by": "alice", "text": "busy"}])
        psst = ("whisper", [{"by": "bob", "text": "psst"}])
        first, second, third = (("announcement", [{"n": n}]) for n in (1, 2, 3))
        assert heard(phone, *names) == [psst, first, second, third], "not what it sent itself"
        draft = ("draft", [{"text": "Dear"}])
        assert heard(laptop, *names) == [said, busy, draft, psst, first, second, third]
        assert heard(bobs, *names) == [said, busy, second, third]
        assert heard(guests, *names) == [said, third]


@pytest.mark.parametrize("module", [NEWEST])
async def test_a_handler_refuses_and_sends_several_events(
    drive: Drive, log_in: LogIn, balanced: str
) -> None:
    guest = await log_in(None)
    async with drive(balanced, auth=await guest.auth()) as client:
        await client.told("connect")
        assert await client.ask("events") == [None]
        assert heard(client, "events") == [("events", [number]) for number in (1, 2, 3)]
        (refused,) = await client.ask("draft", {"text": "x"})
        assert (refused["status"], refused["code"]) == ("error", "unauthenticated")
        assert await client.event("exception") == [refused]
    async with drive(balanced, auth=await guest.auth(page=1)) as old:
        assert (await old.told("connect_error"))["message"].endswith("reload")


@needs_chromium
async def test_its_page(backend: str) -> None:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        # A context of its own has cookies of its own: another user.
        alice = await (await browser.new_context()).new_page()
        bob = await (await browser.new_context()).new_page()
        for page in (alice, bob):
            await page.goto(backend)
            status = page.locator("#status")
            await expect(status).to_have_text("a guest, by websocket")
        for page, name in ((alice, "alice"), (bob, "bob")):
            await page.get_by_label("User").fill(name)
            await page.get_by_role("button", name="Log in").click()
            status = page.locator("#status")
            await expect(status).to_have_text(f"{name}, by websocket")
        await alice.get_by_label("Text").fill("Good morning")
        await alice.get_by_role("button", name="Say").click()
        text = '{"by":"alice","text":"Good morning"}'
        await expect(bob.get_by_text(f"say {text}")).to_be_visible()
        await expect(alice.get_by_text("you: Good morning")).to_be_visible()
        assert await alice.get_by_text(f"say {text}").count() == 0
        await browser.close()

"""The fixture `gateway`, in an application's own test suite that runs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from clarion.pytest_plugin import running_gateway
from tests.cli.clarion import environment

SECONDS = 150

HANDLERS = """
from clarion import Context, Handlers, user

handlers = Handlers()


@handlers.on("greet")
async def greet(message: str, context: Context) -> str:
    await context.publish(user("alice"), "greeted", message)
    return f"to alice: {message}"
"""

TESTS = """
import asyncio

import pytest

from clarion import topic
from clarion.client import Event
from clarion.pytest_plugin import RunningGateway


def test_a_greeting_reaches_alice(gateway: RunningGateway) -> None:
    async def greeted() -> tuple[str, str]:
        async with gateway.client("alice") as alice, gateway.client() as guest:
            items = aiter(alice)
            assert (await anext(items)).reason == "first"
            reply = await guest.send("greet", "hello")
            event = await anext(items)
            return reply, event.data

    assert asyncio.run(greeted()) == ("to alice: hello", "hello")


def test_an_event_reaches_a_topic(gateway: RunningGateway) -> None:
    async def heard() -> Event:
        async with gateway.client("bob", topics=["order.42"]) as bob:
            items = aiter(bob)
            await anext(items)
            with gateway.publisher() as publisher:
                await asyncio.to_thread(publisher.publish, topic("order.42"), "sent", {"by": 1})
            return await anext(items)

    event = asyncio.run(heard())
    assert (event.topic, event.type, event.data) == ("order.42", "sent", {"by": 1})
"""


@pytest.mark.timeout(SECONDS)
def test_an_applications_tests_have_a_gateway(tmp_path: Path) -> None:
    (tmp_path / "live.py").write_text(HANDLERS)
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["clarion.pytest_plugin"]\n')
    (tmp_path / "test_live.py").write_text(TESTS)
    (tmp_path / "pytest.ini").write_text("[pytest]\nclarion_handlers = live:handlers\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"],
        cwd=tmp_path, env=environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 passed" in done.stdout


@pytest.mark.timeout(SECONDS)
def test_a_gateway_that_does_not_start_says_why() -> None:
    gateway = running_gateway("no_such_module:handlers")
    with pytest.raises(RuntimeError, match=r"does not start.*no_such_module"):
        gateway.__enter__()

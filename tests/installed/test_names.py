"""Clarion runs inside an application whose packages are called `gateway`, `cli`, `tests` and so on.

It is tested from the checkout and from the wheel; tests/chart/test_image.py tests it on the image.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.e2e.client import Socket, opened
from tests.e2e.stack import make_stack
from tests.e2e.test_up import up
from tests.installed.application import HANDLERS, taken_names
from tests.installed.installation import CHECKOUT, Installation

pytestmark = pytest.mark.timeout(300)

INSTALLATIONS = ("checkout", "wheel")


@pytest.fixture(params=INSTALLATIONS)
def installation(request: pytest.FixtureRequest) -> Installation:
    if request.param == "checkout":
        return CHECKOUT
    found = request.getfixturevalue("installed")
    assert isinstance(found, Installation)
    return found


async def greets(socket: Socket, *others: Socket) -> None:
    """A message gets its handler's reply, and other clients receive the event."""
    await socket.send(kind="message", ref=1, type="greeting", data="world")
    reply = await socket.receive()
    assert (reply["kind"], reply["data"]) == ("reply", {"hello": "world"})
    for other in others:
        (event,) = await other.events_until("greeting")
        assert event["data"] == {"hello": "world"}


def test_the_application_has_the_names_that_matter() -> None:
    """Otherwise the tests below prove nothing."""
    names = "gateway publisher contract cli bench tests examples docs deploy clients"
    assert taken_names() >= {*names.split(), "app", "server", "settings", "main"}


def test_the_wheel_is_imported_from_its_own_environment(
    installed: Installation, application: Path
) -> None:
    """Otherwise the tests below run the checkout twice."""
    code = "import clarion, clarion_gateway, clarion_cli as c; print(clarion.__file__, c.__file__)"
    done = installed.run("python", "-c", code, cwd=application)
    folder = str(installed.python.parents[1])
    assert [path.startswith(folder) for path in done.stdout.split()] == [True, True], done.stderr


async def test_services_run_inside_an_application(
    installation: Installation,
    application: Path,
    redis_url: str,
    namespace: str,
    tmp_path: Path,
) -> None:
    """`python -m clarion_gateway` and `python -m clarion_publisher`."""
    stack = make_stack(
        tmp_path,
        redis_url,
        namespace,
        handlers=HANDLERS,
        cwd=application,
        python=str(installation.python),
        PYTHONPATH="",
    )
    with stack.running():
        first, second = (gateway.url for gateway in stack.gateways)
        async with opened(first) as one, opened(second) as other:
            await greets(one, other)
            await stack.publish("all", "news", {"id": 42})
            for socket in (one, other):
                assert (await socket.receive())["data"] == {"id": 42}


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
async def test_up_runs_inside_an_application(installation: Installation, application: Path) -> None:
    """`clarion up --handlers`, and the other commands beside it."""
    script = installation.script("clarion")
    options = ("--handlers", HANDLERS)
    with up(application, *options, gateways=1, clarion=[script], PYTHONPATH="") as running:
        async with opened(running.record["gateways"][0]) as socket:
            await greets(socket)
            done = installation.run("clarion", "publish", "news", "1", cwd=application)
            assert json.loads(done.stdout)["gateways"] == 1, done.stderr
            (event,) = await socket.events_until("news")
            assert event["data"] == 1
        running.interrupt()
        assert running.end() == (0, "")


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
async def test_up_from_the_wheel_shows_the_page_and_mounts_the_example(
    installed: Installation, tmp_path: Path
) -> None:
    """In an empty folder, far from any checkout."""
    with up(tmp_path, gateways=1, clarion=[installed.script("clarion")], PYTHONPATH="") as running:
        address = running.record["gateways"][0]
        async with httpx.AsyncClient(trust_env=False) as client:
            assert "<title>Clarion</title>" in (await client.get(address)).text
            assert (await client.get(f"{address}/dev/page.js")).is_success
        async with opened(address, running.record["tokens"]["alice"]) as alice:
            await alice.send(kind="message", ref=1, type="chat.message", data={"text": "hi"})
            reply: dict[str, Any] = await alice.receive()
        assert (reply["kind"], reply["data"]["sender"]) == ("reply", "alice")
        running.interrupt()
        assert running.end() == (0, "")

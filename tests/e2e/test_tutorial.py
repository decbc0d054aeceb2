"""The tutorial: its files and commands run as a reader's would, its page in Chromium."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import jwt
import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from clarion.client import Client, Event, TokenContext
from clarion.signing import sign_hs256
from tests.browser import CHROMIUM, FLAGS, MISSING
from tests.cli.clarion import ROOT
from tests.e2e.pages import (
    SECONDS,
    Block,
    addresses,
    blocks,
    files,
    replaced,
    run,
    shell_environment,
    shown,
)
from tests.e2e.ports import free_port
from tests.e2e.test_up import Up, linux_only, up
from tests.redis_topologies import wait_until

TEXT = (ROOT / "docs" / "tutorial.md").read_text()
STEPS: dict[str, list[Block]] = {
    part.partition("\n")[0]: blocks(part) for part in re.split(r"^##+ ", TEXT, flags=re.MULTILINE)
}
PUBLISHING = STEPS["5. Publish from your backend"]

# A test starts `clarion up` and a backend, and then runs commands.
pytestmark = pytest.mark.timeout(2 * SECONDS)


def command(step: str, start: str) -> str:
    """The one block of commands of a step with a line that begins so."""
    (found,) = (
        text
        for language, text in STEPS[step]
        if language == "sh" and re.search(f"^{re.escape(start)}", text, re.MULTILINE)
    )
    return found


@dataclass(frozen=True)
class Project:
    """The reader's folder, beside a running `clarion up`.

    Attributes:
        own: what stands in the tutorial, and what the test has in its place.
    """

    folder: Path
    stack: Up
    own: Mapping[str, str]

    @property
    def backend(self) -> str:
        return f"http://{self.own['127.0.0.1:8100']}"

    @contextmanager
    def serving(self, script: str) -> Iterator[None]:
        """A backend, started by a page's commands in a shell of its own."""
        process = subprocess.Popen(
            ["bash", "-c", replaced(script, self.own)],
            cwd=self.folder,
            env=shell_environment(self.folder),
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        try:
            wait_until(lambda: process.poll() is not None or self._answers(), "the backend answers")
            assert process.poll() is None
            yield
        finally:
            os.killpg(process.pid, signal.SIGKILL)  # the shell and its server
            process.wait()

    def _answers(self) -> bool:
        try:
            return httpx.get(f"{self.backend}/token", trust_env=False).is_success
        except httpx.ConnectError:
            return False


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    """Steps 1 and 2: the files, the client and `clarion up`."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()  # the test has activated its own
    run(command("1. A folder for your project", "cp "), {"PATH/TO/CLARION": str(ROOT)}, tmp_path)
    found = files(blocks(TEXT))
    (tmp_path / "live.py").write_text(found["live.py"])
    start = command("2. Code that answers your page", "clarion up ")
    with up(tmp_path, *shlex.split(start)[2:], gateways=2) as stack:
        port = str(free_port())
        own = {**addresses(stack.record), "127.0.0.1:8100": f"127.0.0.1:{port}", "8100": port}
        for name, text in found.items():
            (tmp_path / name).write_text(replaced(text, own))
        yield Project(tmp_path, stack, own)
        stack.interrupt()
        assert stack.end()[0] == 0


def test_the_page_has_these_files() -> None:
    named = set(re.findall(r"[Ss]ave this as `([\w.]+)`|this as `(test_live.py)`", TEXT))
    assert files(blocks(TEXT)).keys() == {one or other for one, other in named}


@linux_only
async def test_the_commands_print_what_the_page_shows(project: Project) -> None:
    """Two clients stand for the two windows, so no browser need be installed."""
    secret = (project.folder / ".clarion" / "dev-secret").read_text().strip()

    def token(_: TokenContext) -> str:
        return sign_hs256({"sub": "alice", "exp": time.time() + 600, "subscribe": ["**"]}, secret)

    one, other = (
        Client(url, get_token=token, topics=["room.tea"])
        for url in project.stack.record["gateways"]
    )
    async with asyncio.timeout(SECONDS), one, other:
        received = [aiter(one), aiter(other)]
        for items in received:
            await anext(items)  # a Refresh: the client is connected
        compared = await asyncio.to_thread(shown, PUBLISHING, project.folder, project.own)
        assert compared == 2
        for items in received:
            events = [await anext(items) for _ in range(2)]
            assert [e.type for e in events if isinstance(e, Event)] == ["order.sent", "room.say"]


@linux_only
def test_the_tests_of_the_page_pass(project: Project) -> None:
    """Also while `clarion up` runs in the same folder, as the page says."""
    bare = "export PYTEST_ADDOPTS='-p no:asyncio'"  # the reader has not installed it
    printed = run(f"{bare}\n{command('6. A test', 'pytest')}", project.own, project.folder)
    assert "2 passed" in printed


@pytest.fixture
def browser() -> Iterator[Browser]:
    if MISSING:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


class Window:
    """The reader's page in a window; it is open at its gateway."""

    def __init__(self, browser: Browser, url: str, user: str) -> None:
        self.page: Page = browser.new_page()
        self.page.goto(url)
        self.is_open(user)

    def is_open(self, user: str) -> None:
        expect(self.page.locator("#status")).to_have_text(f"open, as {user}")

    def say(self, text: str) -> None:
        self.page.get_by_label("Text").fill(text)
        self.page.get_by_role("button", name="Say").click()

    def shows(self, *lines: str | re.Pattern[str]) -> None:
        """These lines and no others, in this order."""
        expect(self.page.locator("#events li")).to_have_text(list(lines))


FIRST = "read the state from your backend here"


def windows(project: Project, browser: Browser) -> tuple[Window, Window]:
    """The two windows that step 4 opens."""
    alice, bob = re.findall(r"<(http://127.0.0.1:8100\S*)>", TEXT)
    return (
        Window(browser, replaced(alice, project.own), "alice"),
        Window(browser, replaced(bob, project.own), "bob"),
    )


@linux_only
def test_two_windows_follow_what_is_said_and_published(project: Project, browser: Browser) -> None:
    with project.serving(command("4. The page", "uvicorn ")):
        alice, bob = windows(project, browser)
        alice.say("hello")
        alice.shows(FIRST, "you say: hello")
        bob.shows(FIRST, "alice says: hello")
        bob.say("")
        bob.shows(FIRST, "alice says: hello", re.compile("not said: .*text"))

        assert shown(PUBLISHING, project.folder, project.own) == 2
        ready = "shop says: tea is ready"
        alice.shows(FIRST, "you say: hello", "order 42 is on its way", ready)
        bob.shows(FIRST, "alice says: hello", re.compile("not said"), ready)


@linux_only
def test_a_page_survives_the_death_of_its_gateway(project: Project, browser: Browser) -> None:
    with project.serving(command("4. The page", "uvicorn ")):
        _, bob = windows(project, browser)
        killing = f"export LINES_SHOWN=1\n{command('7. Kill a gateway', 'clarion kill')}"
        assert '"process":"gateway-2"' in run(killing, project.own, project.folder)
        bob.shows(FIRST, "shop says: more tea")
        bob.is_open("bob")


@linux_only
def test_the_express_backend_does_the_same(project: Project) -> None:
    if shutil.which("npm") is None:
        pytest.skip("needs Node 20.11 or newer and npm on PATH")
    script = command("4. The page", "uvicorn ")
    uvicorn = next(line for line in script.splitlines() if line.startswith("uvicorn "))
    install = subprocess.run(
        ["bash", "-c", command("The same in Express", "npm install")],
        cwd=project.folder,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert install.returncode == 0, install.stderr
    with project.serving(script.replace(uvicorn, "node shop.mjs")):
        token = httpx.get(f"{project.backend}/token?user=bob", trust_env=False).text
        secret = (project.folder / ".clarion" / "dev-secret").read_text().strip()
        claims = jwt.decode(token, secret, algorithms=["HS256"])
        assert (claims["sub"], claims["subscribe"]) == ("bob", ["room.*"])
        for path, name in (("", "page.html"), ("client.js", "client.js")):
            served = httpx.get(f"{project.backend}/{path}", trust_env=False)
            assert served.text == (project.folder / name).read_text()

"""The JavaScript package, installed from its tarball as an application would, and clients of it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from tests.cli.clarion import ROOT
from tests.clients import driven
from tests.clients.js.web import served
from tests.e2e.stack import Stack, make_stack
from tests.valkey import Valkey

PACKAGE = ROOT / "clients" / "js"
NPM_SECONDS = 600
MAX_TOPICS = 20
RULES = [
    {"pattern": "room.*", "presence": True},
    {"pattern": "price.*", "last_value": True},
]
# What the application has beside the package.
INSTALLED = ("ws", "typescript", "@types/node", "@types/react", "react", "react-dom")


def run(*command: str, cwd: Path) -> str:
    """Run a command to its end; returns its output, and fails with it."""
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, timeout=NPM_SECONDS
    )
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package's folder with its development dependencies, built."""
    if shutil.which("npm") is None:
        pytest.skip("needs Node 20 or newer and npm on PATH")
    copy = tmp_path_factory.mktemp("package") / "js"
    ignored = shutil.ignore_patterns("node_modules", "dist")
    shutil.copytree(PACKAGE, copy, ignore=ignored)
    run("npm", "ci", "--no-audit", "--no-fund", cwd=copy)
    run("npm", "run", "build", cwd=copy)
    return copy


@pytest.fixture(scope="session")
def origin(package: Path) -> Iterator[str]:
    """A web server with the package's files and an empty page."""
    (package / "dist" / "page.html").write_text("<!doctype html><title>page</title>")
    with served(package / "dist") as address:
        yield address


@pytest.fixture(scope="session")
def stack(shared_valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways. A test that ends one starts it again."""
    folder = tmp_path_factory.mktemp("stack")
    made = make_stack(
        folder,
        shared_valkey.url,
        "js",
        handlers="tests.clients.js.handlers:handlers",
        GATEWAY_DRAIN_SPREAD_SECONDS="0.2",
        GATEWAY_MAX_TOPICS_PER_CONNECTION=str(MAX_TOPICS),
        CLARION_TOPIC_RULES=json.dumps({"topics": RULES}),
    )
    with made.running():
        yield made


@pytest.fixture(scope="session")
def application(package: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An application that has installed the package's tarball, and `ws`."""
    folder = tmp_path_factory.mktemp("application")
    (packed,) = json.loads(run("npm", "pack", "--json", str(package), cwd=folder))
    (folder / "package.json").write_text('{"name": "application", "private": true}')
    versions = json.loads((package / "package.json").read_text())["devDependencies"]
    development = [f"{name}@{versions[name]}" for name in INSTALLED]
    run("npm", "install", "--no-audit", "--no-fund", packed["filename"], *development, cwd=folder)
    shutil.copy(Path(__file__).with_name("driver.mjs"), folder)
    return folder


class Driven(driven.Driven):
    """A client of the package in a Node process."""

    async def command(self, **command: object) -> dict[str, Any]:
        """Give a command; returns what came of it."""
        begin = len(self.reports)
        await self.write(**command)
        return await self.reported(lambda report: report["kind"] in {"done", "failed"}, begin)

    async def status(self, state: str, begin: int = 0) -> dict[str, Any]:
        return await self.reported(lambda report: report.get("state") == state, begin)

    @property
    def data(self) -> list[Any]:
        """The data of the events that it has had."""
        return [report["data"] for report in self.reports if report["kind"] == "event"]


Drive = Callable[..., AbstractAsyncContextManager[Driven]]


@pytest.fixture
def drive(application: Path) -> Drive:
    """Run a client with these options, and stop it at the end."""

    def drive(**options: object) -> AbstractAsyncContextManager[Driven]:
        return driven.driving(Driven, "node", "driver.mjs", json.dumps(options), cwd=application)

    return drive

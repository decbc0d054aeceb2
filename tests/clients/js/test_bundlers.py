"""The tarball in applications: bundled by Vite and webpack, and as plain files, in a browser."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from playwright.async_api import async_playwright

from tests.browser import CHROMIUM, FLAGS, needs_chromium
from tests.clients.js.conftest import run
from tests.clients.js.web import served
from tests.e2e.stack import Stack

pytestmark = needs_chromium

SOURCE = Path(__file__).parent / "pages" / "plain.js"
PAGE = '<!doctype html><link rel="icon" href="data:,">{import_map}<script type="module" src="{script}"></script>'


def page(import_map: str, script: str) -> str:
    return PAGE.format(import_map=import_map, script=script)


def as_plain_files(package: Path, application: Path, folder: Path) -> Path:
    """As from a server of static files: no bundler, no Node."""
    shutil.copytree(
        application / "node_modules" / "@clarion" / "client" / "dist", folder / "client"
    )
    shutil.copy(SOURCE, folder / "app.js")
    import_map = (
        '<script type="importmap">{"imports": {"@clarion/client": "./client/index.js"}}</script>'
    )
    (folder / "index.html").write_text(page(import_map, "app.js"))
    return folder


def by_vite(package: Path, application: Path, folder: Path) -> Path:
    root = application / "vite"
    root.mkdir()
    shutil.copy(SOURCE, root / "app.js")
    (root / "index.html").write_text(page("", "/app.js"))
    command = str(package / "node_modules" / ".bin" / "vite")
    run(command, "build", str(root), "--outDir", str(folder), "--emptyOutDir", cwd=application)
    return folder


def by_webpack(package: Path, application: Path, folder: Path) -> Path:
    shutil.copy(SOURCE, application / "app.js")
    shutil.copy(SOURCE.with_name("webpack.mjs"), package)  # beside webpack
    run("node", str(package / "webpack.mjs"), str(folder), cwd=application)
    (folder / "index.html").write_text(page("", "main.js"))
    return folder


@pytest.mark.parametrize("make", [as_plain_files, by_vite, by_webpack])
async def test_a_page_connects(
    package: Path, application: Path, stack: Stack, tmp_path: Path, make: object
) -> None:
    folder = make(package, application, tmp_path)  # type: ignore[operator]
    url = stack.gateways[0].url
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        with served(folder) as origin:
            tab = await browser.new_page()
            await tab.goto(f"{origin}/index.html")
            await tab.wait_for_function("!!window.connected")
            for options, transport in (
                ({"url": url}, "websocket"),
                ({"url": url, "transport": "sse"}, "sse"),
                ({"url": url, "share": True}, "websocket"),
            ):
                assert await tab.evaluate("options => connected(options)", options) == transport
        await browser.close()

"""The documentation site builds strictly, without a network, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from playwright.async_api import Route, async_playwright, expect

from tests.browser import CHROMIUM, FLAGS, WAIT_MS, needs_chromium

ROOT = Path(__file__).parent.parent
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by `make docs` with proxies that lead nowhere."""
    folder = tmp_path_factory.mktemp("site")
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT,
        env={
            **os.environ,
            "http_proxy": NOWHERE,
            "https_proxy": NOWHERE,
            "NO_MKDOCS_2_WARNING": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stdout + built.stderr
    return folder


def test_every_page_is_there(site: Path) -> None:
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    names = {"index" if page.stem == "README" else page.stem for page in pages}

    assert names - {path.stem for path in site.rglob("*.html")} == set()
    assert {"bench.html", "chart.html", "changelog.html"} <= {path.name for path in site.iterdir()}


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    loading = r"<(?:script|img|iframe)[^>]*\bsrc=[\"']?(https?:[^\"' >]+)"
    styles = (
        r"<link[^>]*\brel=[\"']?(?:stylesheet|preload|preconnect)[^>]*href=[\"']?(https?:[^\"' >]+)"
    )
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert re.findall(loading, text) == []
        assert re.findall(styles, text) == []


def test_links_to_sources_lead_to_copies_of_them(site: Path) -> None:
    page = (site / "errors.html").read_text()

    assert 'href="source/contract/clarion_contract/protocol/closes.json.txt"' in page
    assert (site / "source/contract/clarion_contract/protocol/closes.json.txt").read_text() == (
        ROOT / "contract/clarion_contract/protocol/closes.json"
    ).read_text()


def test_the_names_of_tests_fold(site: Path) -> None:
    page = (site / "guarantees.html").read_text()

    assert page.count("<details><summary>") > 20
    assert "<code>test_nothing_is_lost_or_doubled</code>" in page


def test_styles_load_nothing_from_elsewhere(site: Path) -> None:
    for style in site.rglob("*.css"):
        assert re.findall(r"url\([\"']?https?:|@import", style.read_text()) == [], style


def test_pages_with_a_diagram_load_the_sites_own_mermaid(site: Path) -> None:
    with_diagrams = 0
    for page in site.rglob("*.html"):
        text = page.read_text()
        scripts = re.findall(r'<script src="([^"]*mermaid[^"]*)"', text)
        assert len(scripts) == ('<pre class="mermaid">' in text), page
        assert all((page.parent / script).is_file() for script in scripts), page
        with_diagrams += len(scripts)
    assert with_diagrams > 5


@needs_chromium
async def test_diagrams_are_drawn_without_a_network(site: Path) -> None:
    elsewhere: list[str] = []

    async def refuse(route: Route) -> None:
        elsewhere.append(route.request.url)
        await route.abort()

    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await browser.new_page()
        await page.route(re.compile("^https?:"), refuse)
        for name in ("architecture.html", "decisions/0004-position-is-one-id.html"):
            await page.goto((site / name).as_uri())
            # The theme puts each drawing in the place of its source.
            await expect(page.locator("pre.mermaid")).to_have_count(0)
            drawing = page.locator("div.mermaid").first
            await drawing.scroll_into_view_if_needed(timeout=WAIT_MS)
            box = await drawing.bounding_box()
            assert box is not None
            assert box["height"] > 50, name
        await browser.close()
    assert elsewhere == []

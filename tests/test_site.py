"""The documentation site builds strictly, without a network, and loads nothing from elsewhere."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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

    assert 'href="source/gateway/clarion_gateway/connections/close_codes.py.txt"' in page
    assert (site / "source/gateway/clarion_gateway/connections/close_codes.py.txt").read_text() == (
        ROOT / "gateway/clarion_gateway/connections/close_codes.py"
    ).read_text()


def test_the_names_of_tests_fold(site: Path) -> None:
    page = (site / "guarantees.html").read_text()

    assert page.count("<details><summary>") > 20
    assert "<code>test_nothing_is_lost_or_doubled</code>" in page


def test_diagrams_are_left_to_the_browser(site: Path) -> None:
    assert '<pre class="mermaid">' in (site / "architecture.html").read_text()

"""The docs page works if nothing but the publisher can be reached."""

from __future__ import annotations

import re
from collections.abc import Iterator

import httpx
import pytest
from playwright.sync_api import sync_playwright

from tests.browser import CHROMIUM, FLAGS, needs_chromium
from tests.publisher.service import Service, serving


@pytest.fixture
def dev(redis_url: str, namespace: str) -> Iterator[Service]:
    with serving(redis_url, namespace=namespace, profile="dev") as service:
        yield service


def test_page_and_files_come_from_the_publisher(dev: Service) -> None:
    with httpx.Client(base_url=dev.url, trust_env=False) as client:
        page = client.get("/docs")
        assert page.status_code == 200
        assert "//" not in page.headers["content-security-policy"]
        links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        assert len(links) == 3
        for link in links:
            assert link.startswith("/docs/files/")
            assert client.get(link).status_code == 200
        assert "http" not in re.sub(r"<!--.*?-->", "", page.text)


def test_none_of_it_in_production(client: httpx.Client) -> None:
    assert client.get("/docs").status_code == 404
    assert client.get("/docs/files/swagger-ui.css").status_code == 404


@needs_chromium
def test_a_browser_shows_every_operation(dev: Service) -> None:
    """No network except the publisher's is needed, and nothing breaks the page's policy."""
    paths = httpx.get(f"{dev.url}/openapi.json", trust_env=False).json()["paths"]
    operations = sum(len(methods) for methods in paths.values())
    asked: list[str] = []
    complaints: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda line: complaints.append(line.text) if line.type == "error" else None,
        )
        page.goto(f"{dev.url}/docs")
        page.locator(".opblock").nth(operations - 1).wait_for()
        assert page.locator(".opblock").count() == operations
        assert page.locator(".opblock-tag").all_inner_texts()[0].startswith("events")
        browser.close()
    assert all(url.startswith((dev.url, "data:")) for url in asked)
    assert complaints == []

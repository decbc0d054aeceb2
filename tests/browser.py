"""Debian's Chromium, as tests start it, and how long they wait for what a page shows."""

from __future__ import annotations

import shutil

import pytest
from playwright import async_api, sync_api

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MS = 120_000

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Debian's chromium on PATH (apt-get install chromium)"
)

# Playwright's own five seconds are short where several browsers share a core.
async_api.expect.set_options(timeout=WAIT_MS)
sync_api.expect.set_options(timeout=WAIT_MS)

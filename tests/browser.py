"""Debian's Chromium, as tests start it, and how long they wait for what a page shows."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from playwright import async_api, sync_api
from playwright._impl._driver import compute_driver_executable

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
WAIT_MS = 120_000


def _missing() -> str | None:
    """The reason why tests cannot start Chromium; None: they can."""
    if CHROMIUM is None:
        return "needs Debian's chromium on PATH (apt-get install chromium)"
    node, _ = compute_driver_executable()
    tried = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    return f"Playwright's driver does not start: {tried.stderr}" if tried.returncode else None


MISSING = _missing()
needs_chromium = pytest.mark.skipif(MISSING is not None, reason=MISSING or "")

# Playwright's own five seconds are short where several browsers share a core.
async_api.expect.set_options(timeout=WAIT_MS)
sync_api.expect.set_options(timeout=WAIT_MS)

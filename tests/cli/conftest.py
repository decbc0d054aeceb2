"""The command in a folder of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.clarion import Clarion


@pytest.fixture
def clarion(tmp_path: Path) -> Clarion:
    return Clarion(tmp_path)

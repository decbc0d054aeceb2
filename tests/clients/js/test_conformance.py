"""`@clarion/client` keeps the rules of `clarion conformance --client`."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from clarion_cli.conformance.check import run_checks
from clarion_cli.conformance.client import CHECKS
from clarion_cli.conformance.stage import Client

pytestmark = pytest.mark.timeout(600)


async def test_the_client_keeps_every_rule(application: Path) -> None:
    shutil.copy(Path(__file__).with_name("follow.mjs"), application)
    client = Client(["node", str(application / "follow.mjs")])
    results = [result async for result in run_checks(CHECKS, client)]
    assert [result for result in results if result.outcome != "kept"] == []
    assert len(results) == len(CHECKS)

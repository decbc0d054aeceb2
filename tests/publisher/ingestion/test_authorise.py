"""Scopes for publishing; see also tests/publisher/ingestion/test_admission.py."""

from __future__ import annotations

from clarion_contract.events.audience import KINDS
from clarion_publisher.ingestion.authorise import DISCONNECT_USERS, SCOPES


def test_every_audience_has_a_scope() -> None:
    assert set(SCOPES) == set(KINDS)
    assert len({*SCOPES.values(), DISCONNECT_USERS}) == len(SCOPES) + 1

"""Scopes for publishing; see also tests/publisher/ingestion/test_admission.py."""

from __future__ import annotations

from typing import get_args

from clarion_contract.events.audience import AudienceKind
from clarion_publisher.ingestion.authorise import DISCONNECT_USERS, SCOPES


def test_every_audience_has_a_scope() -> None:
    assert set(SCOPES) == set(get_args(AudienceKind))
    assert len({*SCOPES.values(), DISCONNECT_USERS}) == len(SCOPES) + 1

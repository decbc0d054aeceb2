"""Scopes: one for each kind of audience, and those for operations on users. Pure."""

from __future__ import annotations

from typing import Final

from clarion_contract.events.audience import KINDS, Audience
from clarion_contract.identity.claims import Claims
from clarion_publisher.ingestion.refusal import INSUFFICIENT_SCOPE, Refusal

SCOPES: Final = {kind.name: kind.scope for kind in KINDS.values()}

DISCONNECT_USERS: Final = "users:disconnect"
READ_USERS: Final = "users:read"
CHANGE_TOPICS: Final = "users:topics"


def authorise(caller: Claims, audience: Audience) -> None:
    """Raise unless the caller may publish to an audience.

    A scope may be narrowed to the names that a pattern covers, where the kind has patterns:
    ``<scope>:<pattern>``.

    Raises:
        Refusal: the caller's token lacks the audience's scope.
    """
    scope = SCOPES[audience.kind]
    if scope in caller.scopes:
        return
    naming = KINDS[audience.kind].naming
    if naming is None or naming.covers is None:
        require(caller, scope, f"publishing to {audience.kind}")
        return
    patterns = [each[len(scope) + 1 :] for each in caller.scopes if each.startswith(f"{scope}:")]
    if not any(naming.covers(pattern, audience.name) for pattern in patterns):
        needed = f"{scope} or {scope}:<pattern> with a pattern that covers it"
        deed = f"publishing to the {audience.kind} {audience.name}"
        raise Refusal(INSUFFICIENT_SCOPE, f"{deed} needs the scope {needed}", scope=scope)


def require(caller: Claims, scope: str, deed: str) -> None:
    """Raise unless the caller has a scope.

    Args:
        deed: the action that needs the scope, for the error message.

    Raises:
        Refusal: the caller's token lacks the scope.
    """
    if scope not in caller.scopes:
        raise Refusal(INSUFFICIENT_SCOPE, f"{deed} needs the scope {scope}", scope=scope)

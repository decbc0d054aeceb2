"""Who may publish to whom: one scope for each kind of audience. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from contract.audience import Audience, AudienceKind
from publisher.problems import INSUFFICIENT_SCOPE, Refusal

if TYPE_CHECKING:  # at run time it would bring redis along
    from contract.claims import Claims

SCOPES: Final[dict[AudienceKind, str]] = {
    "all": "publish:all",
    "authenticated": "publish:authenticated",
    "user": "publish:user",
}


def authorise(caller: Claims, audience: Audience) -> None:
    """Let the caller pass.

    Raises:
        Refusal: the caller's token lacks the audience's scope.
    """
    scope = SCOPES[audience.kind]
    if scope not in caller.scopes:
        raise Refusal(
            INSUFFICIENT_SCOPE,
            f"publishing to {audience.kind} needs the scope {scope}",
            scope=scope,
        )

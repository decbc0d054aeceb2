"""Limits on those for whom clients speak: the connections of one user, and anonymous clients.

They hold for this pod. `clarion_gateway.fleet.presence` applies the limit over all pods.
"""

from __future__ import annotations

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Refused
from clarion_gateway.connections.hub import Hub
from clarion_gateway.settings import GatewaySettings


class UserLimits:
    """Says whether a further connection may speak for a user."""

    def __init__(self, hub: Hub, settings: GatewaySettings) -> None:
        self._hub = hub
        self._max_connections = settings.max_connections_per_user
        self._allow_anonymous = settings.allow_anonymous

    def check(self, user: str | None, before: str | None = None) -> None:
        """Refuse a connection that is one too many, or anonymous where none may be.

        Args:
            user: for whom it is to speak; None: for nobody.
            before: for whom it speaks so far.

        Raises:
            Refused: it may not.
        """
        if user is None:
            if not self._allow_anonymous:
                raise Refused(close_codes.UNAUTHENTICATED)
        elif user != before and len(self._hub.of_user(user)) >= self._max_connections:
            raise Refused(close_codes.TOO_MANY_CONNECTIONS)

"""The sources of a client's tokens."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

Token = str | None
Reason = Literal["connect", "expiring", "refused", "login"]


@dataclass(frozen=True, slots=True)
class TokenContext:
    """Why a token is asked for.

    Attributes:
        reason: ``connect``: a connection is about to be made. ``expiring``: the token in use ends
            soon. ``refused``: the gateway refused the last token, or it has expired or was revoked.
            ``login``: the application called `Client.login`.
    """

    reason: Reason


TokenFunction = Callable[[TokenContext], Token] | Callable[[TokenContext], Awaitable[Token]]


class Tokens:
    """The application's tokens, while it wants to be somebody."""

    def __init__(self, function: TokenFunction | None) -> None:
        self._function = function
        self.is_anonymous = False

    @property
    def can_renew(self) -> bool:
        """Whether another token may be had."""
        return self._function is not None and not self.is_anonymous

    async def make(self, reason: Reason) -> Token:
        """A token, or None for nobody; raises what the application's function raises."""
        if self._function is None or self.is_anonymous:
            return None
        made = self._function(TokenContext(reason))
        return await made if inspect.isawaitable(made) else made

"""Runs one handler inside its interceptors.

`clarion_gateway.clients.inbox` calls `answer` for each message, and `clarion.testing` for a test's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from clarion_gateway.application.codec import UNKNOWN, Decode, Signature
from clarion_gateway.application.context import Context, Reply
from clarion_gateway.application.scope import HasState

Proceed = Callable[[], Awaitable[Reply]]


class Interceptor(Protocol):
    """Wraps a handler. It sees the reply but cannot change it.

    Before it calls ``proceed``, it may refuse the message by raising `Refusal`. Afterwards it may
    act on the reply.

        async def members_only(context: Context, proceed: Proceed) -> None:
            if context.user not in members:
                raise Refusal("not_a_member", "expected a member of the room")
            await proceed()
    """

    async def __call__(self, context: Context, proceed: Proceed) -> None:
        """Await ``proceed()`` once: it runs the next interceptor or the handler."""
        ...


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, the decoder of its messages, the interceptors around it, and its scope.

    Attributes:
        signature: for documents; it changes nothing about the handler.
    """

    call: Callable[[Any, Context], Awaitable[Any]]
    decode: Decode
    interceptors: Sequence[Interceptor]
    scope: HasState
    signature: Signature = UNKNOWN


async def answer(route: Route, data: bytes, context: Context) -> Reply:
    """Run a handler inside its interceptors, and return the handler's own reply.

    Raises:
        Refusal: the data do not fit the handler, or the handler or an interceptor refused.
        Exception: any exception that the handler or an interceptor raises.
    """
    run = _Run(route, route.decode(data), context)
    proceed: Proceed = run.once
    for interceptor in reversed(route.interceptors):
        proceed = _inside(interceptor, context, proceed, run)
    return await proceed()


class _Run:
    """One run of a handler, whose outcome is kept.

    An interceptor may call ``proceed`` twice, or swallow the handler's exception. Neither changes
    the outcome.
    """

    def __init__(self, route: Route, message: Any, context: Context) -> None:  # noqa: ANN401
        self._route = route
        self._message = message
        self._context = context
        self._outcome: Reply | Exception | None = None

    async def once(self) -> Reply:
        """Run the handler at the first call; every call has the same outcome."""
        if self._outcome is None:
            try:
                value = await self._route.call(self._message, self._context)
                self._outcome = self._context.reply(value)
            except Exception as error:  # noqa: BLE001 - raised below, and by `outcome` once more
                self._outcome = error
        return self.outcome()

    def outcome(self) -> Reply:
        """Return the reply, or raise the handler's exception.

        Raises:
            RuntimeError: the handler has not run: an interceptor neither proceeded nor refused.
        """
        if self._outcome is None:
            raise RuntimeError("expected the interceptor to call proceed or to raise Refusal")
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome


def _inside(interceptor: Interceptor, context: Context, proceed: Proceed, run: _Run) -> Proceed:
    async def intercepted() -> Reply:
        await interceptor(context, proceed)
        return run.outcome()

    return intercepted

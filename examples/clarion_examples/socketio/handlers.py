"""The gateway's side: what NestJS has in an adapter, a state service, a propagator, an interceptor.

README.md beside this file says what became of each of them.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import BaseModel, StringConstraints

from clarion import (
    AUTHENTICATED,
    ConnectContext,
    Context,
    DisconnectContext,
    Handlers,
    Refusal,
    authenticated_only,
    propagate,
    user,
)

OLDEST_PAGE: Final = 2
"""The oldest version of the page that may connect."""

NUMBERS: Final = (1, 2, 3)

handlers = Handlers()

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000)]


class Said(BaseModel):
    """A text for everybody."""

    text: Text


class Heard(BaseModel):
    """The same, as everybody hears it."""

    by: str
    text: str


class Draft(BaseModel):
    """A text that a user is still writing."""

    text: Annotated[str, StringConstraints(max_length=2_000)]


class Whisper(BaseModel):
    """A text for one user."""

    to: Annotated[str, StringConstraints(min_length=1, max_length=64)]
    text: Text


@handlers.on_connect
async def connected(context: ConnectContext) -> None:
    """The adapter's middleware. The gateway has checked the token before: this is the rest.

    It fills the socket's state, which NestJS keeps in a service by the socket's id.
    """
    page = context.auth.get("page", OLDEST_PAGE)
    if not isinstance(page, int) or page < OLDEST_PAGE:
        raise Refusal("old_page", f"expected a page of version {OLDEST_PAGE} or newer: reload")
    context.data["page"] = page
    if context.user is not None:
        await context.publish(AUTHENTICATED, "member.came", {"user": context.user}, history=False)


@handlers.on_disconnect
async def gone(context: DisconnectContext) -> None:
    """Tell other members. A user with another page open is not gone: ask for presence then."""
    if context.user is not None:
        await context.publish(AUTHENTICATED, "member.left", {"user": context.user}, history=False)


@handlers.on("whoami")
async def whoami(_: None, context: Context) -> dict[str, Any]:
    """The state of the socket that asks."""
    return {"user": context.user, "socket": context.connection, **context.data}


@handlers.on("events")
async def events(_: None, context: Context) -> None:
    """Three events to the socket that asks: an Observable of three items in NestJS."""
    for number in NUMBERS:
        await context.send("events", number)


@handlers.on("say", propagate(to="all"))
async def say(message: Said, context: Context) -> Heard:
    """Everybody on all pods hears it, except the sender's own socket, which has the reply."""
    return Heard(by=context.user or "a guest", text=message.text)


@handlers.on("status", authenticated_only(), propagate(to="authenticated"))
async def status(message: Said, context: Context) -> Heard:
    """Everybody who is logged in hears it."""
    return Heard(by=context.user or "", text=message.text)


@handlers.on("draft", propagate(to="user"))
async def draft(message: Draft, _: Context) -> Draft:
    """The user's other pages and devices get it."""
    return message


@handlers.on("whisper", authenticated_only())
async def whisper(message: Whisper, context: Context) -> None:
    """One user gets it, on all pages and devices: the propagator, called by hand."""
    if message.to == context.user:
        raise Refusal("to_yourself", "expected somebody else to whisper to")
    heard = Heard(by=context.user or "", text=message.text)
    await context.publish(user(message.to), "whisper", heard)

"""Finds gateways, and the token to connect to them with."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import typer

from clarion.client import TokenContext
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.state import State
from clarion_cli.token import TOKEN_VARIABLE, checked_user, make_signer

_TOKEN_SECONDS: Final = 3600

UserOption = Annotated[
    str | None,
    typer.Option(
        metavar="ID", help="Connect as this user. Default: anonymous.", show_default=False
    ),
]
UrlOption = Annotated[
    list[str] | None,
    typer.Option(
        envvar="CLARION_GATEWAY_URL",
        metavar="URL",
        help="A gateway's URL. Repeat it to name several; after a lost connection the next one "
        "is tried. Default: the gateways of the running `clarion up`.",
        show_default=False,
    ),
]


def token_source(
    state: State, user: str | None, topics: Sequence[str] = ()
) -> Callable[[TokenContext], str] | None:
    """The source of tokens; None: the client stays anonymous.

    Raises:
        Failure: the options do not fit each other, or there is no secret to sign with.
    """
    if given := os.environ.get(TOKEN_VARIABLE):
        if user is not None:
            raise Failure(f"--user and {TOKEN_VARIABLE} exclude each other", ExitCode.USAGE)
        return lambda context: _only(given, context)
    if user is None:
        if topics:
            raise Failure(f"--topic needs --user or {TOKEN_VARIABLE}", ExitCode.USAGE)
        return None
    signer, subject = make_signer(state), checked_user(user)
    subscribe = list(topics) or None
    return lambda _: signer.sign(subject, expires_seconds=_TOKEN_SECONDS, subscribe=subscribe)


def _only(token: str, context: TokenContext) -> str:
    """The one token that there is."""
    if context.reason == "expiring":
        raise LookupError("there is no other token")
    return token

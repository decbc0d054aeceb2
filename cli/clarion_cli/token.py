"""`clarion token`: JSON Web Tokens for users and publishing services, signed with HS256.

It is for local work and tests. In production your identity provider signs tokens; pass one of them
to the other commands as ``CLARION_TOKEN``.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import jwt
import typer

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.output import print_line
from clarion_cli.state import State, find_state
from clarion_contract.events.audience import InvalidUserId, check_user_id
from clarion_contract.events.topic import InvalidTopic, check_pattern, check_topic
from clarion_contract.service.secret_files import read_secret

SCOPES: Final = (
    "publish:all",
    "publish:authenticated",
    "publish:user",
    "publish:topic",
    "users:disconnect",
    "users:read",
    "users:topics",
)
# The minimum of `clarion_contract.service.settings` (RFC 7518, section 3.2). Importing that module
# would cost every command 0.3 s.
SECRET_MIN_BYTES: Final = 32
DEFAULT_EXPIRES_SECONDS: Final = 86_400
TOKEN_VARIABLE: Final = "CLARION_TOKEN"  # noqa: S105 - the variable's name


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs tokens that the local services accept.

    Attributes:
        audience: the ``aud`` claim; None if the services need none.
        issuer: the ``iss`` claim; None if the services need none.
    """

    secret: str
    audience: str | None = None
    issuer: str | None = None

    def sign(
        self, subject: str, *, scope: str | None = None, expires_seconds: int, **more: object
    ) -> str:
        """A token for ``subject``: a user, or with ``scope`` a service; with ``more`` claims."""
        now = time.time()
        claims = {
            **more,
            "sub": subject,
            "scope": scope,
            "aud": self.audience,
            "iss": self.issuer,
            # Not rounded, so that a revocation in the same second affects only older tokens.
            "iat": now,
            "exp": int(now) + expires_seconds,
        }
        present = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(present, self.secret, algorithm="HS256")


def make_signer(state: State, environment: Mapping[str, str] = os.environ) -> Signer:
    """A signer with ``CLARION_JWT_SECRET``, or else with the secret that `clarion up` made.

    Raises:
        Failure: there is no secret, its file cannot be read, or it is too short for the services.
    """
    secret = secret_of("CLARION_JWT_SECRET", environment) or state.secret()
    if not secret:
        raise Failure(
            "no secret to sign tokens with: start `clarion up` once, or set CLARION_JWT_SECRET",
            ExitCode.SETUP,
        )
    if len(secret.encode()) < SECRET_MIN_BYTES:
        raise Failure(
            f"expected CLARION_JWT_SECRET of {SECRET_MIN_BYTES} bytes or more", ExitCode.SETUP
        )
    return Signer(
        secret,
        _first(environment.get("CLARION_JWT_AUDIENCE")),
        _first(environment.get("CLARION_JWT_ISSUER")),
    )


def secret_of(name: str, environment: Mapping[str, str] = os.environ) -> str | None:
    """A secret in a variable, or in the file that the variable with ``_FILE`` names.

    Raises:
        Failure: both are set, or the file cannot be read.
    """
    try:
        return read_secret(name, environment)
    except ValueError as error:
        raise Failure(f"{name}: {error}", ExitCode.USAGE) from None


def _first(value: str | None) -> str | None:
    """The name in a variable, or the first one of a JSON list."""
    if value is None or not value.lstrip().startswith("["):
        return value or None
    try:
        names = json.loads(value)
    except ValueError:
        return value
    return str(names[0]) if names else None


def check_scope(scope: str) -> str:
    """Check scopes; return them with single spaces.

    Raises:
        Failure: the text is empty, or contains a scope that no service of Clarion uses.
    """
    names = scope.split()
    unknown = [name for name in names if name not in SCOPES and not _is_narrowed(name)]
    if unknown or not names:
        got = ", ".join(unknown) or "none"
        raise Failure(f"expected scopes out of {', '.join(SCOPES)}; got {got}", ExitCode.USAGE)
    return " ".join(names)


def _is_narrowed(scope: str) -> bool:
    """Whether it is ``publish:topic:`` and a pattern."""
    pattern = scope.removeprefix("publish:topic:")
    if pattern == scope:
        return False
    try:
        check_pattern(pattern)
    except InvalidTopic as error:
        raise Failure(f"{scope}: {error}", ExitCode.USAGE) from None
    return True


def checked_topic(topic: str) -> str:
    """Return ``topic`` unchanged.

    Raises:
        Failure: the text cannot be a topic's name.
    """
    try:
        return check_topic(topic)
    except InvalidTopic as error:
        raise Failure(str(error), ExitCode.USAGE) from None


def checked_user(user: str) -> str:
    """Return ``user`` unchanged.

    Raises:
        Failure: the text cannot be a user's id.
    """
    try:
        return check_user_id(user)
    except InvalidUserId as error:
        raise Failure(str(error), ExitCode.USAGE) from None


def token(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="USER",
            help="The user's id; with --scope the service's name (default: service).",
            show_default=False,
        ),
    ] = None,
    scope: Annotated[
        str | None,
        typer.Option(
            metavar="SCOPES",
            help=f"Make a service's token with these scopes, separated by spaces: "
            f"{', '.join(SCOPES)}.",
            show_default=False,
            autocompletion=lambda: list(SCOPES),
        ),
    ] = None,
    topic: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="A topic that the user's connections receive; may be repeated.",
            show_default=False,
        ),
    ] = None,
    expires: Annotated[
        int,
        typer.Option(
            min=1, max=10 * 365 * 86_400, metavar="SECONDS", help="How long the token is valid."
        ),
    ] = DEFAULT_EXPIRES_SECONDS,
) -> None:
    """Sign a token for a user or a service.

    Prints the bare token and nothing else, on a terminal and in a pipe. So `$(clarion token alice)`
    can stand in any command.

    Example: clarion token --scope "publish:all publish:user" shop
    """
    signer = make_signer(find_state(Path.cwd()))
    if scope is not None:
        print_line(
            signer.sign(name or "service", scope=check_scope(scope), expires_seconds=expires)
        )
    elif name is None:
        raise Failure(
            "expected a user (`clarion token alice`) or a service's scopes "
            "(`clarion token --scope publish:all shop`)",
            ExitCode.USAGE,
        )
    else:
        topics = [checked_topic(each) for each in topic or ()] or None
        print_line(signer.sign(checked_user(name), expires_seconds=expires, topics=topics))

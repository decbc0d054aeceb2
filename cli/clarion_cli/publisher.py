"""The publisher, as commands speak to it: where it is, which token it gets, what it answers."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeVar

import httpx
import msgspec
import typer

from clarion_cli.address import is_local
from clarion_cli.failure import Failure
from clarion_cli.state import find_state
from clarion_cli.token import TOKEN_VARIABLE, make_signer

_SERVICE: Final = "clarion-cli"
_TOKEN_SECONDS: Final = 60
_TIMEOUT_SECONDS: Final = 10.0

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--publisher-url",
        envvar="CLARION_PUBLISHER_URL",
        help="Default: the running `clarion up`.",
        show_default=False,
    ),
]

AnyAnswer = TypeVar("AnyAnswer")


@dataclass(frozen=True, slots=True)
class Publisher:
    """One publisher.

    Attributes:
        token: of a service.
    """

    url: str
    token: str

    def ask(
        self, method: str, path: str, answer: type[AnyAnswer], *, body: bytes | None = None
    ) -> AnyAnswer:
        """Make one request.

        Args:
            body: JSON; None: nothing.

        Raises:
            Failure: the publisher does not answer, or refuses.
        """
        headers = {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = httpx.request(
                method,
                f"{self.url.rstrip('/')}{path}",
                content=body,
                headers=headers,
                timeout=_TIMEOUT_SECONDS,
                trust_env=not is_local(self.url),
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise Failure(
                f"no publisher at {self.url} ({error}); is `clarion up` running?"
            ) from None
        if not response.is_success:
            raise Failure(f"the publisher refused ({response.status_code}): {_reason(response)}")
        try:
            return msgspec.json.decode(response.content, type=answer)
        except msgspec.DecodeError:
            raise Failure(f"{self.url} answers, but not as a publisher of Clarion") from None


def find_publisher(url: str | None, *, scope: str) -> Publisher:
    """The publisher at ``url``, else that of the running `clarion up`.

    Args:
        scope: of a token signed with the local secret, unless ``CLARION_TOKEN`` names one.

    Raises:
        Failure: there is no secret to sign with.
    """
    state = find_state(Path.cwd())
    token = os.environ.get(TOKEN_VARIABLE) or make_signer(state).sign(
        _SERVICE, scope=scope, expires_seconds=_TOKEN_SECONDS
    )
    return Publisher(url or state.addresses().publisher, token)


def _reason(response: httpx.Response) -> str:
    """What an RFC 9457 problem document says, or the start of whatever came instead."""
    try:
        problem = response.json()
        title, detail = problem.get("title"), problem.get("detail")
    except (ValueError, AttributeError):
        return response.text[:200] or response.reason_phrase
    return ": ".join(str(part) for part in (title, detail) if part) or response.reason_phrase

"""A command's connection to the publisher: its address, the token, and the answers."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, TypeVar

import httpx
import msgspec
import typer

from clarion.local import is_local
from clarion.publisher import NotAPublisher, Problem, PublishError, Unavailable
from clarion_cli.address import publisher_url
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.state import find_state
from clarion_cli.token import TOKEN_VARIABLE, make_signer

_SERVICE: Final = "clarion-cli"
_TOKEN_SECONDS: Final = 60
_TIMEOUT_SECONDS: Final = 10.0
_LATER: Final = frozenset({httpx.codes.REQUEST_TIMEOUT, httpx.codes.TOO_MANY_REQUESTS})

UrlOption = Annotated[
    str | None,
    typer.Option(
        "--publisher-url",
        envvar="CLARION_PUBLISHER_URL",
        metavar="URL",
        help="The publisher's URL. Default: the publisher of the running `clarion up`.",
        show_default=False,
    ),
]

AnyAnswer = TypeVar("AnyAnswer")


@dataclass(frozen=True, slots=True)
class Publisher:
    """One publisher.

    Attributes:
        token: a service's token.
    """

    url: str
    token: str

    def ask(
        self, method: str, path: str, answer: type[AnyAnswer], *, body: bytes | None = None
    ) -> AnyAnswer:
        """Make one request.

        Args:
            body: JSON; None: no body.

        Raises:
            Failure: the publisher does not answer, or refuses the request.
        """
        headers = {"Authorization": f"Bearer {self.token}"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            response = httpx.request(
                method,
                f"{self.url}{path}",
                content=body,
                headers=headers,
                timeout=_TIMEOUT_SECONDS,
                trust_env=not is_local(self.url),
            )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _no_answer(self.url, error) from None
        # Every publisher has all these paths.
        if response.status_code == httpx.codes.NOT_FOUND:
            raise _something_else(self.url)
        if not response.is_success:
            raise Failure(
                f"the publisher refused ({response.status_code}): {_reason(response)}",
                _code(response.status_code),
            )
        try:
            return msgspec.json.decode(response.content, type=answer)
        except msgspec.DecodeError:
            raise _something_else(self.url) from None


def find_publisher(url: str | None, *, scope: str) -> Publisher:
    """The publisher at ``url``, or else that of the running `clarion up`.

    Args:
        scope: for a token signed with the local secret; unused if ``CLARION_TOKEN`` is set.

    Raises:
        Failure: there is no secret to sign with, or ``url`` is not a URL.
    """
    state = find_state(Path.cwd())
    address = publisher_url(url or state.addresses().publisher)
    token = os.environ.get(TOKEN_VARIABLE) or make_signer(state).sign(
        _SERVICE, scope=scope, expires_seconds=_TOKEN_SECONDS
    )
    return Publisher(address, token)


def failure_of(error: PublishError, url: str) -> Failure:
    """The end of a command that could not publish."""
    if isinstance(error, Unavailable) and isinstance(error.__cause__, Problem):
        error = error.__cause__
    if isinstance(error, Problem):
        return Failure(f"the publisher refused ({error.status}): {error}", _code(error.status))
    if isinstance(error, NotAPublisher):
        return _something_else(url)
    return _no_answer(url, error.__cause__ or error)


def _no_answer(url: str, error: BaseException) -> Failure:
    hint = "; is `clarion up` running?" if is_local(url) else ""
    return Failure(f"no publisher answers at {url}: {_cause(error)}{hint}", ExitCode.UNREACHABLE)


def _something_else(url: str) -> Failure:
    return Failure(
        f"{url} answers, but not like a publisher of Clarion; is it a publisher's public port?",
        ExitCode.UNREACHABLE,
    )


def _code(status: int) -> ExitCode:
    """The exit code, which tells whether the same request may succeed later."""
    later = httpx.codes.is_server_error(status) or status in _LATER
    return ExitCode.UNAVAILABLE if later else ExitCode.REFUSED


def _cause(error: BaseException) -> str:
    """Why a connection failed, without the error number that Python puts first."""
    return re.sub(r"^\[Errno -?\d+\] ", "", str(error)) or type(error).__name__


def _reason(response: httpx.Response) -> str:
    """The text of an RFC 9457 problem document, or the start of any other answer."""
    try:
        problem = response.json()
        title, detail = problem.get("title"), problem.get("detail")
    except (ValueError, AttributeError):
        return response.text[:200] or response.reason_phrase
    return ": ".join(str(part) for part in (title, detail) if part) or response.reason_phrase

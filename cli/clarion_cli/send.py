"""`clarion send`: sends one message to an application's handler and prints the reply."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
import typer

from clarion.client import (
    Client,
    Closed,
    ClosedError,
    Connecting,
    NoAnswerError,
    RefusalError,
    Status,
    TokenContext,
)
from clarion.local import is_local
from clarion_cli.failure import ExitCode, Failure
from clarion_cli.gateway import UrlOption, UserOption, token_source
from clarion_cli.output import print_line
from clarion_cli.publish import read_data
from clarion_cli.state import find_state

# The same message may succeed later. With all other codes it fails again.
_TEMPORARY: Final = frozenset({"timeout", "unavailable", "rate_limited"})


def send(
    type_: Annotated[
        str, typer.Argument(metavar="TYPE", help="The message's type, such as chat.message.")
    ],
    data: Annotated[
        str, typer.Argument(metavar="JSON", help="The message's data. - reads standard input.")
    ] = "null",
    user: UserOption = None,
    url: UrlOption = None,
    timeout: Annotated[
        float,
        typer.Option(min=0.1, max=3_600, metavar="SECONDS", help="How long to wait for the reply."),
    ] = 15,
) -> None:
    """Send one message to a handler and print its reply.

    The command connects anonymously, or as a user. Set CLARION_TOKEN to use a token of your own.

    Example: clarion send --user alice chat.message '{"text": "hi"}'
    """
    message = msgspec.Raw(read_data(data))  # a parser could change its numbers
    state = find_state(Path.cwd())
    urls = url or list(state.addresses().gateways)
    source = token_source(state, user)
    try:
        reply = asyncio.run(_exchange(urls, source, type_, message, timeout))
    except RefusalError as error:
        temporary = error.code in _TEMPORARY
        code = ExitCode.UNAVAILABLE if temporary else ExitCode.REFUSED
        raise Failure(f"the message was refused: {error}", code) from None
    except ValueError as error:
        raise Failure(str(error), ExitCode.USAGE) from None
    print_line(msgspec.json.encode(reply).decode())


async def _exchange(
    urls: Sequence[str],
    get_token: Callable[[TokenContext], str] | None,
    type_: str,
    data: msgspec.Raw,
    seconds: float,
) -> Any:  # noqa: ANN401 - whatever the handler replies
    """The handler's reply.

    Raises:
        Failure: no gateway answers, it does not accept the client, or no reply came.
        RefusalError: the message was refused.
    """
    lost: asyncio.Future[Connecting] = asyncio.get_running_loop().create_future()

    def tell(status: Status) -> None:
        if not isinstance(status, Connecting) or status.retry_seconds is None:
            return
        if status.failures >= len(urls) and not lost.done():
            lost.set_result(status)

    async with Client(urls, get_token=get_token, on_status=tell) as client:
        reply = asyncio.ensure_future(client.send(type_, data, timeout=seconds))
        await asyncio.wait({reply, lost}, return_when=asyncio.FIRST_COMPLETED)
        if not reply.done():
            reply.cancel()
            raise _unreachable(lost.result())
        try:
            return reply.result()
        except NoAnswerError as error:
            if isinstance(client.status, Closed):
                raise _refused(client.status) from None
            raise Failure(f"no reply: {error}", ExitCode.UNAVAILABLE) from None
        except ClosedError:
            raise _refused(client.status) from None


def _unreachable(status: Connecting) -> Failure:
    hint = " (is `clarion up` running?)" if is_local(status.url) else ""
    return Failure(f"{status.reason}{hint}", ExitCode.UNREACHABLE)


def _refused(status: Status) -> Failure:
    return Failure(f"the gateway refused: {status.reason}", ExitCode.REFUSED)

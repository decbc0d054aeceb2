"""HTTP/1.1 with a shortcut: some requests are answered without an app.

The protocol checks every head. A request that may be short then waits here for its body, and goes
to the `clarion_contract.service.http_shortcut.Shortcut`; all others go to the app at once.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from clarion_contract.service.http_deadline import LAST
from clarion_contract.service.http_protocol import BoundedHttpProtocol
from clarion_contract.service.http_shortcut import (
    AnswerHeads,
    DefaultHeaders,
    ShortAnswer,
    Shortcut,
)

# A shortcut waits for bodies of up to this share of a head's limit, so that a connection that has
# sent half a request holds about as much memory as one that has sent half a head.
_SHORT_BODY_SHARE: Final = 4


class ShortcutHttpProtocol(BoundedHttpProtocol):
    """One TCP connection to a port with a shortcut; use it through `protocol_class`."""

    shortcut: Shortcut | None = None  # set on the subclass that `protocol_class` makes
    heads: AnswerHeads  # likewise, if there is a shortcut

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # The request for the shortcut: headers by name. None: the app serves the current one.
        self._short: dict[bytes, bytes] | None = None
        self._short_body: list[bytes] = []

    @property
    def default_headers(self) -> DefaultHeaders:
        """Headers of every answer: the service's, and uvicorn's date."""
        return self.server_state.default_headers

    def shutdown(self) -> None:
        """The app finishes the current request, because it can tell the client of the end."""
        if self._short is not None and self.due.phase != LAST:
            self._take_the_long_way()
        super().shutdown()

    def begin(self, headers: dict[bytes, bytes]) -> None:
        """Start the app, or wait for the shortcut's body."""
        if self.shortcut is not None and self._may_be_short(self.shortcut, headers):
            self._short = headers
        else:
            self._start_app()

    def on_body(self, body: bytes) -> None:
        """A piece of the body."""
        if self._short is None:
            super().on_body(body)
        else:
            self._short_body.append(body)

    def on_message_complete(self) -> None:
        """The request is complete: the shortcut or the app takes it."""
        if self._short is None or self.shortcut is None:
            super().on_message_complete()
        elif self._taken(self.shortcut, self._short):
            self._end_message()
        else:
            self._take_the_long_way()
            super().on_message_complete()

    def _may_be_short(self, shortcut: Shortcut, headers: dict[bytes, bytes]) -> bool:
        """Whether the request is alone on its connection, and as plain as a shortcut needs it."""
        cycle, parser = self.cycle, self.parser
        return (
            self.url in shortcut.targets
            and len(headers) == len(self.headers)
            and (cycle is None or cycle.response_complete)
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and self.keeps_alive
            and not self.expect_100_continue
            and not self.flow.write_paused
            and shortcut.wants(headers)
        )

    def _parse(self, piece: bytes | memoryview) -> None:
        try:
            self.parser.feed_data(piece)
        finally:
            if self._short is not None:
                self._wait_for_body(self._short)

    def _wait_for_body(self, headers: dict[bytes, bytes]) -> None:
        """Wait for the rest of a small body, as for the rest of a head; let the app read others."""
        length = headers.get(b"content-length")
        if length is not None and int(length) <= self._head_max_bytes // _SHORT_BODY_SHARE:
            self._in_head = True
        else:
            self._take_the_long_way()

    def _count_head(self, size: int) -> None:
        if self._short is None:  # a body that it waits for is small
            super()._count_head(size)

    def _taken(self, shortcut: Shortcut, headers: dict[bytes, bytes]) -> bool:
        """Whether the shortcut takes the request, which is complete."""
        before, pieces = self.cycle, self._short_body
        answer = ShortAnswer(self, self.transport)
        self.cycle = answer  # type: ignore[assignment]  # it has what is used of uvicorn's
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if not shortcut.take(headers, body, answer):
            self.cycle = before
            return False
        self._short = None
        self._short_body = []
        return True

    def _take_the_long_way(self) -> None:
        """Start the app for the request that waited for its body, with what has come of it."""
        self._short = None
        self._in_head = False
        body, self._short_body = self._short_body, []
        self._start_app()
        for piece in body:
            super().on_body(piece)

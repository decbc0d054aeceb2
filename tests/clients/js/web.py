"""A web server for the pages of the tests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

STATE_PREFIX = "/state/"


class _Handler(SimpleHTTPRequestHandler):
    def __init__(self, *args: object, state: Callable[[str], str], **options: object) -> None:
        self._state = state
        super().__init__(*args, **options)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        if not self.path.startswith(STATE_PREFIX):
            return super().do_GET()
        body = self._state(self.path.removeprefix(STATE_PREFIX)).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        return None

    def log_message(self, *args: object) -> None:
        """Write nothing."""


@contextmanager
def served(folder: Path, state: Callable[[str], str] = lambda name: name) -> Iterator[str]:
    """Serve a folder's files, and under `/state/NAME` what ``state`` says; yields the origin."""
    handler = partial(_Handler, directory=str(folder), state=state)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()

"""A stand-in for a publisher, which shows the bytes of requests. tests/e2e has the real one."""

from __future__ import annotations

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class _Publisher(BaseHTTPRequestHandler):
    """Answers as the server's ``answer`` says, and records requests."""

    def do_POST(self) -> None:
        server = self.server
        assert isinstance(server, Publisher)
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        server.asked.append((self.path, dict(self.headers), body))
        status, answer = server.answer
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def do_GET(self) -> None:
        self.do_POST()

    def log_message(self, *args: object) -> None:
        pass


class Publisher(ThreadingHTTPServer):
    """The recorded requests, and the answers to give."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Publisher)
        self.asked: list[tuple[str, dict[str, str], bytes]] = []
        self.answer = (201, b'{"id":"1700000000000000","duplicate":false,"gateways":2}')

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

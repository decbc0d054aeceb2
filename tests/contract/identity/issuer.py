"""An issuer of tokens: keys, and a real HTTP server that publishes them."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm


def jwk(key: Any, key_id: str | None, **more: Any) -> dict[str, Any]:
    """The public half of a private key, as a JWK."""
    kinds: tuple[tuple[type, Any], ...] = (
        (rsa.RSAPrivateKey, RSAAlgorithm),
        (ec.EllipticCurvePrivateKey, ECAlgorithm),
        (ed25519.Ed25519PrivateKey, OKPAlgorithm),
    )
    algorithm = next(each for kind, each in kinds if isinstance(key, kind))
    public = algorithm.to_jwk(key.public_key(), as_dict=True)
    public.pop("key_ops", None)
    return {**public, **({"kid": key_id} if key_id else {}), **more}


class Issuer:
    """An issuer whose key set, status and speed the test decides."""

    def __init__(self) -> None:
        self.status = 200
        self.body: bytes = b""
        self.headers: dict[str, str] = {}
        self.requests = 0
        self.drips = False
        self.ended = threading.Event()
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.requests += 1
                self.send_response(issuer.status)
                for name, value in issuer.headers.items():
                    self.send_header(name, value)
                self.send_header("content-length", str(len(issuer.body)))
                self.end_headers()
                try:
                    for byte in issuer.body if issuer.drips else ():
                        self.wfile.write(bytes((byte,)))
                        self.wfile.flush()
                        if issuer.ended.wait(0.05):
                            return
                    if not issuer.drips:
                        self.wfile.write(issuer.body)
                except OSError:
                    pass  # the client has had enough

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/jwks.json"

    def publish(self, *keys: dict[str, Any]) -> None:
        self.body = json.dumps({"keys": keys}).encode()


@contextlib.contextmanager
def serving() -> Iterator[Issuer]:
    """An issuer that publishes nothing yet, until the context ends."""
    issuer = Issuer()
    thread = threading.Thread(target=issuer.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield issuer
    finally:
        issuer.ended.set()
        issuer.server.shutdown()
        issuer.server.server_close()
        thread.join()

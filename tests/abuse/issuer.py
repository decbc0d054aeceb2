"""An identity provider on loopback: one ES256 key at a JWKS URL, and the tokens that it signs."""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from tests.chaos.revoking import Token, team_of

_KEY = ec.generate_private_key(ec.SECP256R1())
_KEY_ID = "the-only-key"
_TOKEN_SECONDS = 3_600


@dataclass(frozen=True)
class IssuedToken(Token):
    """A user's token, signed with the issuer's key."""

    @property
    def signed(self) -> str:
        return sign(self.user, self.id, topics=[team_of(self.user)])


def sign(user: str, token_id: str | None = None, topics: Sequence[str] = ()) -> str:
    """A token that gateways accept, which grants these topics."""
    now = time.time()
    claims = {
        "sub": user,
        "jti": token_id or uuid.uuid4().hex,
        "iat": now,
        "exp": now + _TOKEN_SECONDS,
        "topics": topics,
    }
    return jwt.encode(claims, _KEY, "ES256", headers={"kid": _KEY_ID})


class Issuer:
    """Serves its key set, and counts how often it is asked."""

    def __init__(self) -> None:
        issuer = self
        self.asked = 0
        key = {**json.loads(ECAlgorithm.to_jwk(_KEY.public_key())), "kid": _KEY_ID, "alg": "ES256"}
        document = json.dumps({"keys": [key]}).encode()

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                self.send_response(200)
                self.send_header("content-length", str(len(document)))
                self.end_headers()
                self.wfile.write(document)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/keys"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

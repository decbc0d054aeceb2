"""What `helm test` runs: both services are ready, and an event goes all the way.

The event can only be sent where the chart knows the shared secret; with an issuer of your own, the
test ends with readiness.
"""

import http.client
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable

import jwt

DEADLINE = time.monotonic() + 90


def insist(what: str, attempt: Callable[[], object]) -> None:
    """Try until it works or time is up; a Service needs a moment to reach its pods."""
    while True:
        try:
            attempt()
        except (OSError, http.client.HTTPException) as error:
            if time.monotonic() > DEADLINE:
                sys.exit(f"FAILED: {what}: {error}")
            time.sleep(1)
        else:
            print(f"ok: {what}", flush=True)
            return


def get(url: str) -> bytes:
    """The body of an answer of 200."""
    with urllib.request.urlopen(url, timeout=5) as answer:
        return bytes(answer.read())


def token(service: str, subject: str, scope: str | None = None) -> str:
    """A token that the service accepts, for a minute."""
    claims = {
        "sub": subject,
        "exp": int(time.time()) + 60,
        "scope": scope,
        "aud": os.environ.get(f"{service}_JWT_AUDIENCE"),
        "iss": os.environ.get(f"{service}_JWT_ISSUER"),
    }
    present = {name: value for name, value in claims.items() if value}
    return jwt.encode(present, os.environ[f"{service}_JWT_SECRET"], algorithm="HS256")


def roundtrip() -> None:
    """Publish to one user, and read it from that user's stream."""
    user, mark = f"helm-test-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    bearer = {"Authorization": f"Bearer {token('GATEWAY', user)}"}
    stream = urllib.request.Request(f"{os.environ['GATEWAY']}/sse", headers=bearer)
    with urllib.request.urlopen(stream, timeout=20) as lines:
        for line in lines:  # the stream begins with a welcome: from then on nothing is missed
            if line.startswith(b"data:"):
                threading.Thread(target=publish, args=(user, mark), daemon=True).start()
                break
        for line in lines:
            if mark.encode() in line:
                return
    raise OSError("the stream ended before the event came")


def publish(user: str, mark: str) -> None:
    """One event to one user."""
    event = {"audience": {"user": user}, "type": "helm.test", "data": {"mark": mark}}
    request = urllib.request.Request(
        f"{os.environ['PUBLISHER']}/v1/events",
        json.dumps(event).encode(),
        {
            "Authorization": f"Bearer {token('PUBLISHER', 'helm-test', 'publish:user')}",
            "Content-Type": "application/json",
        },
    )
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError as error:
        print(f"publishing: {error.code} {error.read().decode()}", flush=True)


insist("a gateway is ready", lambda: get(f"{os.environ['GATEWAY_INTERNAL']}/readyz"))
insist("a publisher is ready", lambda: get(f"{os.environ['PUBLISHER_INTERNAL']}/readyz"))
if os.environ.get("GATEWAY_JWT_SECRET") and os.environ.get("PUBLISHER_JWT_SECRET"):
    insist("an event reaches its user", roundtrip)
else:
    print("skipped: the chart knows no secret to sign tokens with", flush=True)

"""The test of `helm test`: both services are ready, and an event travels the whole way.

The event can be sent only if the chart knows the shared secret. With an issuer of your own, the
test checks readiness only.
"""

import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Callable

import httpx
import jwt

DEADLINE = time.monotonic() + float(os.environ.get("DEADLINE_SECONDS", "90"))


def insist(what: str, attempt: Callable[[], object]) -> None:
    """Try until it works or time is up, since a Service needs a moment to reach its pods."""
    while True:
        try:
            attempt()
        except httpx.HTTPError as error:
            if time.monotonic() > DEADLINE:
                sys.exit(f"FAILED: {what}: {reason(error)}")
            time.sleep(1)
        else:
            print(f"ok: {what}", flush=True)
            return


def reason(error: httpx.HTTPError) -> str:
    """Why an attempt failed, as an operator can act on it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, socket.gaierror):
            host = error.request.url.host
            return (
                f"the name {host} does not resolve: check that this pod reaches its DNS ({error})"
            )
        cause = cause.__cause__ or cause.__context__
    return str(error)


def ready(service: str) -> None:
    """Raise an error unless a pod of the service is ready."""
    httpx.get(f"{os.environ[f'{service}_INTERNAL']}/readyz", timeout=5).raise_for_status()


def first(names: str) -> str:
    """The name in a setting, or the first one of a JSON list."""
    return json.loads(names)[0] if names.startswith("[") else names


def token(service: str, subject: str, scope: str | None = None) -> str:
    """A token that the service accepts for a minute."""
    claims = {
        "sub": subject,
        "exp": int(time.time()) + 60,
        "scope": scope,
        "aud": first(os.environ.get(f"{service}_JWT_AUDIENCE", "")),
        "iss": first(os.environ.get(f"{service}_JWT_ISSUER", "")),
    }
    present = {name: value for name, value in claims.items() if value}
    return jwt.encode(present, os.environ[f"{service}_JWT_SECRET"], algorithm="HS256")


def roundtrip() -> None:
    """Publish an event to one user and read it from that user's stream."""
    user, mark = f"helm-test-{uuid.uuid4().hex[:8]}", uuid.uuid4().hex
    bearer = {"Authorization": f"Bearer {token('GATEWAY', user)}"}
    url = f"{os.environ['GATEWAY']}/sse"
    with httpx.stream("GET", url, headers=bearer, timeout=20) as stream:
        stream.raise_for_status()
        lines = stream.iter_lines()
        for line in lines:  # the stream begins with a welcome; later events cannot be missed
            if line.startswith("data:"):
                threading.Thread(target=publish, args=(user, mark), daemon=True).start()
                break
        if not any(mark in line for line in lines):
            raise httpx.ReadError("the stream ended before the event came")


def publish(user: str, mark: str) -> None:
    """Publish one event to one user."""
    answer = httpx.post(
        f"{os.environ['PUBLISHER']}/v1/events",
        json={"audience": {"user": user}, "type": "helm.test", "data": {"mark": mark}},
        headers={"Authorization": f"Bearer {token('PUBLISHER', 'helm-test', 'publish:user')}"},
        timeout=5,
    )
    if not answer.is_success:
        print(f"publishing: {answer.status_code} {answer.text}", flush=True)


insist("a gateway is ready", lambda: ready("GATEWAY"))
insist("a publisher is ready", lambda: ready("PUBLISHER"))
if os.environ.get("GATEWAY_JWT_SECRET") and os.environ.get("PUBLISHER_JWT_SECRET"):
    insist("an event reaches its user", roundtrip)
else:
    print("skipped: the chart knows no secret to sign tokens with", flush=True)

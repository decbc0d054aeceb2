"""Texts from elsewhere: tokens, an issuer's keys, what Redis carries, Redis URLs, settings."""

from __future__ import annotations

import json
import os
import time
from functools import cache
from unittest import mock

import jwt
import msgspec
from prometheus_client import CollectorRegistry

from clarion_contract.bus.orders import decode_order, encode_order, split_message
from clarion_contract.events.audience import ALL, InvalidUserId, check_user_id
from clarion_contract.events.errors import InvalidToken
from clarion_contract.events.event import InvalidMessage, Publication, parse_message
from clarion_contract.identity import jws, key_set
from clarion_contract.identity.tokens import TokenVerifier, verifier_of
from clarion_contract.redis.url import FORMS, parse_redis_url
from clarion_contract.redis.url_options import InvalidRedisUrl
from clarion_contract.service.settings import InvalidSettings, load, variable
from clarion_gateway.clients.revocations import Revocations
from clarion_gateway.connections.hub import Hub
from clarion_gateway.metrics.registry import Metrics
from clarion_gateway.settings import GatewaySettings
from clarion_gateway.upstream.answers import InvalidAnswer, decode_answer
from clarion_gateway.wire.native import PLAIN
from clarion_gateway.wire.sse import SSE
from clarion_publisher.settings import PublisherSettings
from tests.conftest import SECRET
from tests.fuzz.target import Broken, text_of
from tests.gateway.memory_orders import MemoryOrders
from tests.gateway.recorder import frames_of
from tests.gateway.recorder import settings as gateway_settings

_HEADER = b"eyJhbGciOiJIUzI1NiJ9"  # {"alg":"HS256"}
_SECRET_MIN = 8  # shorter ones may be in any sentence by chance
# Reading one of these never ends, or does what it should not.
_NO_FILES = ("/dev", "/proc", "/sys", "/run")


def parse_token(data: bytes) -> None:
    """A token: by its first byte any text, or a signed one with any header or any claims."""
    kind, rest = data[:1], data[1:]
    if kind == b"c":
        token = _signed(_HEADER + b"." + _base64(rest))
    elif kind == b"h":
        header, _, claims = rest.partition(b"\n")
        token = _signed(_base64(header) + b"." + _base64(claims))
    else:
        token = text_of(rest)
    try:
        claims_of = _verifier().verify(token)
        check_user_id(claims_of.subject)
    except (InvalidToken, InvalidUserId):
        return
    if not claims_of.expires_at > time.time() - 60:
        raise Broken(f"accepted after its end: {claims_of}")
    json.dumps([claims_of.subject, sorted(claims_of.scopes), claims_of.token_id])


def parse_keys(data: bytes) -> None:
    """An issuer's key set; each key that it yields is tried against a token of each algorithm."""
    try:
        keys = key_set.parse(data)
    except key_set.InvalidKeySet as error:
        if "\n" in str(error):
            raise Broken(f"more than one line: {error}") from None
        return
    signatures = jws.Signatures(sorted(jws.ASYMMETRIC))
    for key_id in (None, *keys.ids):
        for algorithm in sorted(jws.ASYMMETRIC):
            token = jws.SignedToken(jws.Header(algorithm), b"{}", b"a.b", bytes(64))
            try:
                signatures.check(token, keys.find(key_id, algorithm).keys)
            except InvalidToken:
                continue
            raise Broken(f"{algorithm}: zeros pass as a signature")


def parse_bus_message(data: bytes) -> None:
    """What comes in on a bus channel."""
    try:
        event = parse_message(ALL, data)
    except InvalidMessage:
        return
    (frame,) = frames_of(PLAIN.event(event))
    if event.data == b"{}":
        json.loads(frame.data)
    SSE.event(event)


def parse_orders(data: bytes) -> None:
    """What comes in on the control channel, and what stands in Redis when a pod comes back."""
    for text in split_message(data):
        try:
            order = decode_order(text)
        except msgspec.MsgspecError:
            continue
        if decode_order(encode_order(order)) != order:
            raise Broken(f"{order!r} is another order when it is read again")
    revocations = Revocations(MemoryOrders(), Hub(), _metrics())
    revocations.hear(data)
    revocations.hear(data)
    revocations.forget_ended()


def parse_upstream(data: bytes) -> None:
    """A backend's answer to a client's message."""
    try:
        answer = decode_answer(data)
    except InvalidAnswer:
        return
    json.loads(bytes(answer.reply))
    for event in answer.publish:
        publication = Publication(
            event.recipients(), event.type, bytes(event.data), None, event.exclude
        )
        header = f"1 0 {publication.header}".encode()
        parsed = parse_message(publication.audience, b"%b\n%b" % (header, publication.data))
        if (parsed.type, parsed.data) != (event.type, bytes(event.data)):
            raise Broken(f"{publication!r} came out as {parsed!r}")


def parse_url(data: bytes) -> None:
    """CLARION_REDIS_URL."""
    text = text_of(data)
    try:
        url = parse_redis_url(text)
    except InvalidRedisUrl as error:
        secret = text.partition("://")[2].rpartition("@")[0].rpartition(":")[2]
        if len(secret) > _SECRET_MIN and secret in str(error):
            raise Broken(f"tells of a URL's password: {error}") from None
        return
    except ValueError as error:
        if str(error) != FORMS:
            raise Broken(f"tells of a URL with a password: {error}") from None
        return
    for host, port in (*url.sentinels, *url.nodes):
        if not host or not 0 < port < 65_536:
            raise Broken(f"no address: {host}:{port}")


def parse_settings(data: bytes) -> None:
    """The environment: a line for each variable; the first byte says whose."""
    cls = GatewaySettings if data[:1] != b"p" else PublisherSettings
    known = {variable(cls, field) for field in cls.model_fields}
    environment = {}
    for line in text_of(data[1:]).replace("\x00", "").split("\n"):
        name, _, value = line.partition("=")
        if name in known and not any(path in value for path in _NO_FILES):
            environment[name] = value
    with mock.patch.dict(os.environ, environment, clear=True):
        try:
            settings = load(cls)
        except InvalidSettings as error:
            _check_problems(error.problems, environment)
            return
    settings.keyspace.log("all")


_SECRET_EXPECTED = "CLARION_JWT_SECRET: expected a secret of 32 bytes or more"


def _check_problems(problems: list[str], environment: dict[str, str]) -> None:
    secret = environment.get("CLARION_JWT_SECRET", "")
    for problem in problems:
        if "\n" in problem:
            raise Broken(f"more than one line: {problem!r}")
        # The message itself has words that a secret may consist of.
        if len(secret) > 8 and secret in problem and secret not in _SECRET_EXPECTED:
            raise Broken(f"tells the secret: {problem!r}")


def _base64(data: bytes) -> bytes:
    return jwt.utils.base64url_encode(data)


def _signed(signing_input: bytes) -> str:
    signature = jwt.get_algorithm_by_name("HS256").sign(signing_input, SECRET.encode())
    return (signing_input + b"." + _base64(signature)).decode()


@cache
def _verifier() -> TokenVerifier:
    _, verifier = verifier_of(gateway_settings(jwt_audience="clarion", jwt_issuer="issuer"))
    return verifier


@cache
def _metrics() -> Metrics:
    return Metrics(CollectorRegistry())

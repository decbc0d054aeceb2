"""Why Redis refuses, where waiting does not help: what is wrong, and what an operator should do.

Everything else, such as a lost connection, a failover or a Redis that loads its data, passes by
itself. The table is the only place that tells both apart.
"""

from __future__ import annotations

import re
import socket
import ssl
from collections.abc import Iterator
from typing import Final

from clarion_contract.events.errors import BusUnavailable, BusUnreachable, Fault

# A primary that became a replica is refused as well, until its name leads to the new primary.
_FAILOVER_SECONDS: Final = 30.0

LOGIN: Final = Fault(
    "login",
    "Redis does not accept the user or the password of CLARION_REDIS_URL, or the separate ones",
    own=True,
)
PERMISSIONS: Final = Fault(
    "permissions",
    "the ACL of Redis' user lacks a command, a key or a channel; Clarion's pages list them",
    own=True,
)
READ_ONLY: Final = Fault(
    "read_only",
    "CLARION_REDIS_URL leads to a read-only replica; it must lead to the primary",
    patience_seconds=_FAILOVER_SECONDS,
)
CLUSTER_NODE: Final = Fault(
    "cluster_node",
    "Redis is a node of a cluster; write redis+cluster:// in CLARION_REDIS_URL",
    own=True,
)
NO_CLUSTER: Final = Fault(
    "no_cluster", "Redis is no cluster; write redis:// in CLARION_REDIS_URL", own=True
)
MEMORY: Final = Fault("memory", "Redis is out of memory; raise its maxmemory, or keep less history")
VERSION: Final = Fault("version", "Redis is too old; Clarion needs 7.0 or newer", own=True)
DATABASE: Final = Fault(
    "database", "Redis has no database of the number in CLARION_REDIS_URL", own=True
)
TLS: Final = Fault(
    "tls", "the TLS certificate of Redis does not hold; see the ssl_ options of the URL", own=True
)
WRONG_TYPE: Final = Fault(
    "wrong_type", "another application uses keys of this CLARION_NAMESPACE in Redis"
)

FAULTS: Final = (
    LOGIN, PERMISSIONS, READ_ONLY, CLUSTER_NODE, NO_CLUSTER, MEMORY, VERSION, DATABASE, TLS,
    WRONG_TYPE,
)  # fmt: skip

# How Redis and Valkey tell of them, also from inside a script.
_TEXTS: Final = (
    (
        LOGIN,
        r"WRONGPASS|NOAUTH|unauthenticated|Authentication(\w*Error| required)|without any password",
    ),
    (PERMISSIONS, r"NOPERM|no permissions? |ACL failure|user executing the script can't"),
    (MEMORY, r"\bOOM\b|used memory > 'maxmemory'"),
    (READ_ONLY, r"READONLY|read.only replica"),
    (
        CLUSTER_NODE,
        r"\bMOVED\b|CROSSSLOT|slot not served|SELECT is not allowed in cluster|don't hash to the",
    ),
    (NO_CLUSTER, r"cluster support disabled"),
    (DATABASE, r"DB index is out of range|invalid DB index"),
    (TLS, r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"),
    (VERSION, r"unknown (redis |server )?command"),
    (WRONG_TYPE, r"WRONGTYPE"),
)
_UNRESOLVED: Final = (
    "(the host's name does not resolve: check CLARION_REDIS_URL, and that this pod reaches its DNS)"
)
_PATTERNS: Final = tuple((fault, re.compile(text, re.IGNORECASE)) for fault, text in _TEXTS)


def fault_of(error: BaseException, *, clustered: bool = False) -> Fault | None:
    """The fault behind an error of redis-py; None: it passes by itself.

    Args:
        clustered: the error came from a cluster, where a slot that moves is no fault.
    """
    for each in _chain(error):
        if isinstance(each, ssl.SSLCertVerificationError):
            return TLS
        text = f"{type(each).__name__}: {each}"
        for fault, pattern in _PATTERNS:
            if pattern.search(text):
                return None if clustered and fault is CLUSTER_NODE else fault
    return None


def unavailable(error: BaseException, *, clustered: bool = False) -> BusUnavailable:
    """An error of redis-py as one of the bus."""
    return BusUnavailable(one_line(error), fault_of(error, clustered=clustered))


def unreachable(error: BaseException) -> BusUnreachable:
    """An error of redis-py before anything was sent."""
    return BusUnreachable(one_line(error), fault_of(error, clustered=True))


def one_line(error: BaseException) -> str:
    """An error in one line, fit for logs and callers; a name that does not resolve is named so."""
    line = f"{type(error).__name__}: {error}".splitlines()[0]
    if any(isinstance(each, socket.gaierror) for each in _chain(error)):
        return f"{line} {_UNRESOLVED}"
    return line


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__

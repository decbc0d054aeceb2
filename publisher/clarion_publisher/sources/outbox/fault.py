"""Why an outbox cannot be read, in words for operators and without secrets."""

from __future__ import annotations

import re
from typing import Final

import psycopg
from psycopg import errors

# Errors of a server that will be the same after a while, unless somebody acts.
_LASTING: Final = (
    errors.InvalidAuthorizationSpecification,  # also InvalidPassword
    errors.InvalidCatalogName,  # no such database
    errors.InsufficientPrivilege,
    errors.UndefinedTable,
    errors.UndefinedColumn,
)
# Errors at connecting carry no code, because libpq sees several servers and attempts.
_LASTING_TEXT: Final = re.compile(
    r"password authentication failed|no password supplied|no pg_hba.conf entry|does not exist"
    r"|certificate|SSL|invalid (connection option|URI)"
)
_SHOWN_MAX_CHARACTERS: Final = 300


class OutboxFault(Exception):
    """The outbox cannot be read until somebody acts: a table is missing, a right, or a version."""


def lasts(error: Exception) -> bool:
    """Whether an error stays until somebody acts. A restart or a failover passes by itself."""
    if isinstance(error, (OutboxFault, *_LASTING)):
        return True
    return isinstance(error, psycopg.OperationalError) and bool(_LASTING_TEXT.search(str(error)))


def reason(error: BaseException) -> str:
    """An error as one line. libpq's texts name hosts, users and databases, but no passwords."""
    if isinstance(error, TimeoutError):
        return "PostgreSQL does not answer in time"
    line = " ".join(str(error).split()) or type(error).__name__
    return line[:_SHOWN_MAX_CHARACTERS]

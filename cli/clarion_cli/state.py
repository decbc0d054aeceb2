"""The folder ``.clarion``: what `clarion up` leaves for the other commands to find.

Holds the secret that local tokens are signed with, the addresses of the running stack, and a lock
that lives as long as the stack. Found as git finds ``.git``: here or in a parent folder.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from clarion_cli.failure import Failure

FOLDER_VARIABLE: Final = "CLARION_STATE"
_NAME: Final = ".clarion"


class Addresses(msgspec.Struct, frozen=True):
    """Where a stack listens. The defaults are those of `clarion up`."""

    gateways: tuple[str, ...] = ("http://127.0.0.1:8001", "http://127.0.0.1:8002")
    publisher: str = "http://127.0.0.1:8080"


class State:
    """One such folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._secret = folder / "dev-secret"
        self._addresses = folder / "stack.json"
        self._lock = folder / "lock"

    def secret(self) -> str | None:
        """The local signing secret, None before the first `clarion up`.

        Raises:
            Failure: the folder cannot be read.
        """
        with self._used():
            try:
                return self._secret.read_text().strip()
            except FileNotFoundError:
                return None

    def make_secret(self) -> str:
        """The local signing secret, generated now if there is none. Only its owner can read it.

        Raises:
            Failure: the folder cannot be made, written or read.
        """
        with self._used():
            self._make_folder()
            try:
                descriptor = os.open(self._secret, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            except FileExistsError:
                return self._secret.read_text().strip()
            secret = secrets.token_urlsafe(48)
            with os.fdopen(descriptor, "w") as file:
                file.write(secret + "\n")
            return secret

    def addresses(self) -> Addresses:
        """Of the running stack; the defaults when none is known to run.

        Raises:
            Failure: the folder cannot be read.
        """
        with self._used():
            try:
                return msgspec.json.decode(self._addresses.read_bytes(), type=Addresses)
            except (FileNotFoundError, msgspec.DecodeError):
                return Addresses()

    @contextmanager
    def announced(self, addresses: Addresses) -> Iterator[None]:
        """Other commands find these addresses meanwhile.

        Raises:
            Failure: the folder cannot be written.
        """
        with self._used():
            self._addresses.write_bytes(msgspec.json.encode(addresses))
        try:
            yield
        finally:
            self._addresses.unlink(missing_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """One stack per folder: a second would overwrite the addresses of the first.

        A file lock, not a file with a process id: it is gone with its process, however that ends.

        Raises:
            Failure: another `clarion up` runs here, or the folder cannot be made or written.
        """
        with self._used():
            self._make_folder()
            lock = self._lock.open("w")
        with lock as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise Failure(
                    "`clarion up` already runs here; stop it first (Ctrl-C in its terminal)"
                ) from None
            yield

    @contextmanager
    def _used(self) -> Iterator[None]:
        """Around every use: a folder that cannot be used is the person's to change."""
        try:
            yield
        except OSError as error:
            raise Failure(
                f"cannot use the folder {self.folder}: {error.strerror}; "
                f"name another with {FOLDER_VARIABLE}"
            ) from None

    def _make_folder(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / ".gitignore").write_text("*\n")


def find_state(start: Path, environment: Mapping[str, str] = os.environ) -> State:
    """The nearest ``.clarion`` from ``start`` upwards, or a new one in ``start``."""
    if named := environment.get(FOLDER_VARIABLE):
        return State(Path(named))
    for folder in (start, *start.parents):
        if (folder / _NAME).is_dir():
            return State(folder / _NAME)
    return State(start / _NAME)

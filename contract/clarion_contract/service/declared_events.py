"""Holds events against the catalogue of an operator's files, and reads the files again on a change.

Both services use it: the publisher for what producers send, the gateway for what handlers publish.
Kubernetes changes a mounted ConfigMap by swapping a symbolic link, so the files are looked at again
and again; that is cheap, and it needs no watcher. If the new files are no catalogue, the old one
stays in force, and the service says so.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Literal

import structlog
import yaml

from clarion_contract.events.audience import Audience
from clarion_contract.events.catalogue import Catalogue, InvalidCatalogue, parse_catalogue
from clarion_contract.events.declaration import Violation
from clarion_contract.service.documents import parse_json, parse_yaml

Undeclared = Literal["allow", "warn", "refuse"]
"""The treatment of an event whose type no declaration covers."""

Finding = Literal["undeclared", "deprecated", "invalid"]
FINDINGS: Final[tuple[Finding, ...]] = ("undeclared", "deprecated", "invalid")

_LOOK_SECONDS: Final = 2.0
_EXTENSIONS: Final = (".json", ".yaml", ".yml")
_FILE_MAX_BYTES: Final = 4 << 20
_FILES_MAX: Final = 10_000
# Types whose finding was logged: each once, and only so many, since callers choose types.
_LOGGED_MAX: Final = 1_000

_log = structlog.get_logger(__name__)


class DeclaredEvents:
    """The catalogue in force.

    Attributes:
        catalogue: the declarations.
        problem: why the files as they are now are not in force; None: they are.

    Args:
        path: a file, or a directory of files.
        undeclared: what becomes of a type that is not declared.
        count: counts a finding.

    Raises:
        InvalidCatalogue: the files are no catalogue.
    """

    def __init__(
        self,
        path: Path,
        *,
        undeclared: Undeclared,
        count: Callable[[Finding], None] = lambda _: None,
        look_seconds: float = _LOOK_SECONDS,
    ) -> None:
        self.problem: str | None = None
        self._path = path
        self._undeclared = undeclared
        self._count = count
        self._look_seconds = look_seconds
        self._seen = _signature(path)
        self.catalogue = read_catalogue(path)
        self._logged: set[tuple[str, str]] = set()

    def __len__(self) -> int:
        return len(self.catalogue)

    @property
    def warnings(self) -> list[str]:
        """For readiness: what is wrong with the files."""
        return [] if self.problem is None else [f"catalogue not reloaded: {self.problem}"]

    def check(self, audience: Audience, type_: str, data: bytes) -> Sequence[Violation]:
        """The faults of an event; empty: it has none.

        Args:
            data: JSON text in UTF-8.
        """
        declaration = self.catalogue.find(type_)
        if declaration is None:
            return self._undeclared_type(type_)
        if declaration.deprecated:
            self._note("deprecated", type_)
        violations = declaration.check(audience, data)
        if violations:
            self._count("invalid")
        return violations

    async def run(self) -> None:
        """Look for changes for ever."""
        while True:
            await asyncio.sleep(self._look_seconds)
            await asyncio.to_thread(self.look)

    def look(self) -> None:
        """Read the files if they have changed."""
        seen = _signature(self._path)
        if seen == self._seen:
            return
        try:
            self.catalogue = read_catalogue(self._path)
        except InvalidCatalogue as error:
            self.problem = str(error)
            _log.error(
                "catalogue not reloaded: the old one stays in force", problems=error.problems
            )
        else:
            self.problem = None
            _log.info("catalogue reloaded", events=len(self.catalogue))
        self._seen = seen

    def _undeclared_type(self, type_: str) -> Sequence[Violation]:
        if self._undeclared == "allow":
            return ()
        if self._undeclared == "warn":
            self._note("undeclared", type_)
            return ()
        self._count("undeclared")
        return (Violation("/type", "a declared type (`clarion events list`)", type_),)

    def _note(self, finding: Finding, type_: str) -> None:
        self._count(finding)
        if (finding, type_) not in self._logged and len(self._logged) < _LOGGED_MAX:
            self._logged.add((finding, type_))
            _log.warning(f"event of a type that is {finding}", type=type_)


def read_catalogue(path: Path) -> Catalogue:
    """The catalogue in a file, or in the files of a directory (``.json``, ``.yaml``, ``.yml``).

    Raises:
        InvalidCatalogue: a file cannot be read, or the files are no catalogue.
    """
    documents: dict[str, Any] = {}
    problems: list[str] = []
    for file in _files(path):
        try:
            documents[file.name] = _document(file)
        except OSError as error:
            problems.append(f"{file}: {error.strerror}")
        except (ValueError, RecursionError, yaml.YAMLError) as error:
            reason = " ".join(str(error).split())[:300]
            problems.append(f"{file.name}: {reason}")
    if problems:
        raise InvalidCatalogue(problems)
    return parse_catalogue(documents)


def _files(path: Path) -> list[Path]:
    """The catalogue's files; Kubernetes' own entries of a mounted directory begin with a dot.

    Raises:
        InvalidCatalogue: there is nothing at the path, or far too much.
    """
    if not path.is_dir():
        return [path]
    try:
        files = sorted(
            each
            for each in path.iterdir()
            if each.suffix in _EXTENSIONS and not each.name.startswith(".")
        )
    except OSError as error:
        raise InvalidCatalogue([f"{path}: {error.strerror}"]) from None
    if len(files) > _FILES_MAX:
        raise InvalidCatalogue([f"{path}: expected at most {_FILES_MAX} files, got {len(files)}"])
    return files


def _document(file: Path) -> Any:  # noqa: ANN401 - any JSON
    size = file.stat().st_size
    if size > _FILE_MAX_BYTES:
        raise ValueError(f"expected at most {_FILE_MAX_BYTES} bytes, got {size}")
    text = file.read_bytes().decode()
    if file.suffix == ".json":
        return parse_json(text)
    try:
        # Through JSON: YAML has values that JSON does not have, such as sets and keys of numbers.
        return json.loads(json.dumps(parse_yaml(text), allow_nan=False))
    except TypeError as error:
        raise ValueError(f"expected values that JSON has: {error}") from None


def _signature(path: Path) -> Mapping[str, tuple[int, int, int]]:
    """A value that changes when a file does; a missing file has none."""
    found = {}
    try:
        files = _files(path)
    except InvalidCatalogue:
        return {}
    for file in files:
        try:
            stat = file.stat()
        except OSError:
            continue
        found[str(file)] = stat.st_mtime_ns, stat.st_size, stat.st_ino
    return found

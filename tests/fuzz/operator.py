"""Files that operators write: rules for topics, and the catalogue of declared events."""

from __future__ import annotations

import tempfile
from pathlib import Path

from clarion_contract.events.audience import ALL
from clarion_contract.events.catalogue import InvalidCatalogue
from clarion_contract.service.declared_events import read_catalogue
from clarion_contract.service.topic_rules_file import BadRules, read_topic_rules
from tests.fuzz.target import Broken

_MAX_AGE_SECONDS = 300
_LINE_MAX_CHARACTERS = 2_000
_DATA = (b"null", b"1e400", b'{"a":{"b":[1,"\\ud83d\\ude00"]}}', b"[[[]]]")


def parse_rules(data: bytes) -> None:
    """A file of rules: JSON if it begins with a brace, YAML otherwise."""
    extension = ".json" if data[:1] == b"{" else ".yaml"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"topics{extension}"
        file.write_bytes(data)
        try:
            rules = read_topic_rules(str(file), max_age_seconds=_MAX_AGE_SECONDS)
        except BadRules as error:
            _check_lines(error.faults)
            return
    for rule in rules.topics:
        if not rules.of(rule.pattern.replace("*", "x")):
            raise Broken(f"{rule.pattern!r} covers nothing")
        if rule.history and (rule.history.max_age_seconds or 0) > _MAX_AGE_SECONDS:
            raise Broken(f"keeps more than Redis does: {rule}")


def parse_catalogue(data: bytes) -> None:
    """A directory of two files, with a line of ``---`` between them."""
    first, _, second = data.partition(b"\n---\n")
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("first", first), ("second.schema", second)):
            extension = ".json" if text[:1] in {b"{", b"["} else ".yaml"
            if text:
                (Path(folder) / f"{name}{extension}").write_bytes(text)
        try:
            catalogue = read_catalogue(Path(folder))
        except InvalidCatalogue as error:
            _check_lines(error.problems)
            return
    for declaration in catalogue:
        for value in _DATA:
            for violation in declaration.check(ALL, value):
                if not violation.pointer.startswith(("/data", "/audience")):
                    raise Broken(f"points nowhere: {violation}")
    catalogue.wrong_examples()


def _check_lines(problems: object) -> None:
    """Each problem is a line of a log, and of an error at start."""
    assert isinstance(problems, list | tuple)
    for problem in problems:
        if not problem or "\n" in problem or len(problem) > _LINE_MAX_CHARACTERS:
            raise Broken(f"no line: {problem!r}")
    if not problems:
        raise Broken("refused without a reason")

"""`clarion_contract.service.topic_rules_file`: files of rules, and one line for each fault."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clarion_contract.events.topic_rules import NO_RULES
from clarion_contract.service.settings import ContractSettings, InvalidSettings, load
from clarion_contract.service.topic_rules_file import BadRules, read_topic_rules
from tests.conftest import SECRET
from tests.processes import Process

RULES = {"topics": [{"pattern": "cursor.**", "history": False}]}
YAML = """
topics:
  - pattern: cursor.**
    history: false
"""


def faults(given: str) -> tuple[str, ...]:
    with pytest.raises(BadRules) as caught:
        read_topic_rules(given, max_age_seconds=600)
    return caught.value.faults


@pytest.mark.parametrize(("name", "text"), [("a.yaml", YAML), ("a.json", json.dumps(RULES))])
def test_a_file_is_yaml_or_json(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    read = read_topic_rules(str(path), max_age_seconds=600)
    assert read.of("cursor.a.b").history is None
    assert read == read_topic_rules(json.dumps(RULES), max_age_seconds=600)
    assert read_topic_rules(None, max_age_seconds=600) == NO_RULES


def test_each_fault_is_one_line_that_says_where(tmp_path: Path) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(
        """
topics:
  - pattern: a..b
  - pattern: b
    histroy: false
  - pattern: c
    history: {max_events: 0, age: 3}
  - history: none
  - pattern: b
    history: {max_age_seconds: 601}
rest: 1
"""
    )
    found = faults(str(path))
    assert [each.partition(":")[0] for each in found] == [
        "topics[0].pattern",
        "topics[1].histroy",
        "topics[2].history.max_events",
        "topics[2].history.age",
        "topics[3].pattern",
        "topics[3].history",
        "topics[4].history.max_age_seconds",
        "rest",
        "topics[4].pattern",
    ]
    assert "expected a topic or a pattern" in found[0]
    assert found[0].count("got 'a..b'") == 1
    expected = "pattern, history, presence or last_value"
    assert found[1] == f"topics[1].histroy: unknown key, expected {expected}"
    assert found[3].endswith("unknown key, expected max_events or max_age_seconds")
    assert found[7] == "rest: unknown key, expected topics"
    assert found[2].endswith("got '0'")
    assert "expected false, or a map" in found[5]
    assert not any("\n" in each for each in found)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("topics: [", "not YAML in line"),
        ("- a", "expected a map with the key topics"),
        ("", "expected a map with the key topics"),
        ("topics: 5", "topics:"),
        ("topics: [5]", "topics[0]:"),
        ("topics: []\ntopics: []", "the key 'topics' stands twice"),
    ],
)
def test_what_is_no_file_of_rules(tmp_path: Path, text: str, fault: str) -> None:
    path = tmp_path / "rules.yaml"
    path.write_text(text)
    (found,) = faults(str(path))
    assert found.startswith(fault)


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert faults(str(missing)) == (f"cannot read {missing}: No such file or directory",)
    binary = tmp_path / "rules.yaml"
    binary.write_bytes(b"\xff")
    assert faults(str(binary)) == (f"cannot read {binary}: it is not UTF-8",)
    assert faults("{")[0].startswith("not JSON: ")


def test_a_pattern_has_one_rule() -> None:
    patterns = [{"pattern": pattern} for pattern in ("a", "b", "a", "b", "a")]
    assert faults(json.dumps({"topics": patterns})) == tuple(
        f"topics[{place}].pattern: expected one rule for {pattern!r}, got a second"
        for place, pattern in ((2, "a"), (3, "b"), (4, "a"))
    )


def test_no_topic_is_kept_for_longer_than_streams_are_remembered() -> None:
    """Else a reader could take the log of a forgotten topic for a whole one."""
    given = '{"topics": [{"pattern": "a", "history": {"max_age_seconds": 601}}]}'
    (found,) = faults(given)
    assert found == (
        "topics[0].history.max_age_seconds: expected at most CLARION_HISTORY_MAX_AGE_SECONDS "
        "(600), got 601"
    )
    read_topic_rules(given, max_age_seconds=601)


def test_a_service_names_the_variable_on_each_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLARION_JWT_SECRET", SECRET)
    monkeypatch.setenv("CLARION_TOPIC_RULES", '{"topics": [{"pattern": ""}, {"x": 1}]}')
    with pytest.raises(InvalidSettings) as caught:
        load(ContractSettings)
    assert [line.split(": ")[:2] for line in caught.value.problems] == [
        ["CLARION_TOPIC_RULES", "topics[0].pattern"],
        ["CLARION_TOPIC_RULES", "topics[1].pattern"],
        ["CLARION_TOPIC_RULES", "topics[1].x"],
    ]
    monkeypatch.setenv("CLARION_TOPIC_RULES", json.dumps(RULES))
    assert load(ContractSettings).history.topics.of("cursor.a").history is None


@pytest.mark.parametrize("service", ["gateway", "publisher"])
def test_a_service_with_a_wrong_file_ends_with_a_line_for_each_fault(
    tmp_path: Path, service: str
) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text("topics:\n  - pattern: a.**.b\n  - pattern: c\n    histroy: false\n")
    log = tmp_path / "log"
    with Process(service, log, CLARION_TOPIC_RULES=str(rules)) as process:
        assert process.end() == 2
    lines = log.read_text().splitlines()
    assert "Traceback" not in log.read_text()
    for fault in ("topics[0].pattern: expected", "topics[1].histroy: unknown key"):
        (line,) = [line for line in lines if fault in line]
        assert line.startswith(f"{service}: CLARION_TOPIC_RULES: ")

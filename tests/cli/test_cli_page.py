"""docs/cli.md has every command, argument, option and exit code, and none that does not exist."""

from __future__ import annotations

import re
from typing import Any

import pytest
from typer.main import get_command

from clarion_cli.failure import ExitCode
from clarion_cli.main import app
from clarion_cli.token import SCOPES
from clarion_publisher.ingestion import authorise
from tests.cli.clarion import ROOT, Clarion

PAGE = (ROOT / "docs" / "cli.md").read_text()
ROOT_COMMAND: Any = get_command(app)
COMMANDS: dict[str, Any] = ROOT_COMMAND.commands


def section(name: str) -> str:
    """The text about one command."""
    _, found, rest = PAGE.partition(f"\n### `clarion {name}`\n")
    assert found, f"expected a section on `clarion {name}`"
    return re.split(r"\n##+ ", rest)[0]


def documented(text: str) -> set[str]:
    """Options and arguments in the first column of the text's tables."""
    names: set[str] = set()
    for cell in re.findall(r"^\| ([^|]+) \|", text, flags=re.MULTILINE):
        names.update(re.findall(r"`(-{1,2}[a-z][\w-]*|[A-Z]+)(?: [A-Z:]+)?`", cell))
    return names


def existing(command: Any) -> set[str]:
    names: set[str] = set()
    if command is not ROOT_COMMAND:
        for inner in getattr(command, "commands", {}).values():
            names |= existing(inner)
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            names.add(parameter.metavar)
        else:
            names.update((*parameter.opts, *parameter.secondary_opts))
    return names


def test_every_command_has_its_section() -> None:
    assert re.findall(r"^### `clarion (\w+)`$", PAGE, flags=re.MULTILINE) == list(COMMANDS)


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"bench"}))
def test_every_option_of_a_command_is_in_its_section_and_no_other(name: str) -> None:
    assert documented(section(name)) == existing(COMMANDS[name])


@pytest.mark.parametrize("name", sorted(COMMANDS.keys() - {"bench"}))
def test_every_default_is_the_real_one(name: str) -> None:
    for parameter in COMMANDS[name].params:
        if isinstance(parameter.default, int) and not isinstance(parameter.default, bool):
            row = f"| `{parameter.opts[0]} {parameter.metavar}` | {parameter.default} |"
            assert row in section(name)


def test_every_option_of_all_commands_is_on_the_page() -> None:
    top = PAGE.partition("### ")[0]
    assert documented(top) == existing(ROOT_COMMAND) | {"-h", "--help"}


def test_every_scope_is_on_the_page() -> None:
    rows = re.findall(r"^\| `(\w+:\w+)` \|", section("token"), flags=re.MULTILINE)
    assert rows == list(SCOPES)


def test_the_scopes_are_those_that_the_publisher_asks_for() -> None:
    asked = {
        *authorise.SCOPES.values(),
        authorise.CHANGE_TOPICS,
        authorise.DISCONNECT_USERS,
        authorise.READ_USERS,
    }
    assert set(SCOPES) == asked


def test_every_exit_code_is_on_the_page_and_in_the_help(clarion: Clarion) -> None:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", PAGE, flags=re.MULTILINE)
    assert [(int(code), meaning) for code, meaning in rows] == [
        (code.value, code.meaning) for code in ExitCode
    ]
    said = clarion.run("-h").stdout
    for code, meaning in rows:
        assert re.search(rf"^ +{code}  {re.escape(meaning)}$", said, flags=re.MULTILINE)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_text_of_the_help_is_a_sentence(name: str) -> None:
    command = COMMANDS[name]
    texts = [command.help.partition("\n")[0], *(p.help for p in command.params)]
    assert all(text and text.endswith(".") for text in texts), texts

"""The folder .clarion."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from clarion_cli.failure import Failure
from clarion_cli.state import Addresses, State, find_state


def test_is_found_in_a_parent_folder_as_git_finds_its_own(tmp_path: Path) -> None:
    (tmp_path / ".clarion").mkdir()
    below = tmp_path / "a" / "b"
    below.mkdir(parents=True)
    assert find_state(below, {}).folder == tmp_path / ".clarion"


def test_is_here_when_there_is_none_above(tmp_path: Path) -> None:
    assert find_state(tmp_path, {}).folder == tmp_path / ".clarion"


def test_is_where_the_environment_says(tmp_path: Path) -> None:
    named = {"CLARION_STATE": str(tmp_path / "elsewhere")}
    assert find_state(tmp_path, named).folder == tmp_path / "elsewhere"


def test_makes_a_secret_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    state = State(tmp_path / ".clarion")
    assert state.secret() is None
    secret = state.make_secret()
    assert len(secret) >= 32
    assert state.make_secret() == state.secret() == secret
    assert stat.S_IMODE((state.folder / "dev-secret").stat().st_mode) == 0o600


def test_tells_process_ids_only_while_a_stack_runs(tmp_path: Path) -> None:
    """Afterwards they may be those of strangers."""
    state = State(tmp_path)
    assert state.pids() == {}
    with state.locked():
        state.note_pid("gateway-1", 7)
        state.note_pid("gateway-1", 8)
        state.note_pid("publisher", 9)
        assert State(tmp_path).pids() == {"gateway-1": 8, "publisher": 9}
    assert state.pids() == {}
    state.note_pid("gateway-1", 7)  # left behind, since `clarion up` was killed
    assert state.pids() == {}
    with state.locked():
        assert state.pids() == {}


def test_keeps_the_secret_out_of_git(tmp_path: Path) -> None:
    state = State(tmp_path / ".clarion")
    state.make_secret()
    assert (state.folder / ".gitignore").read_text() == "*\n"


def test_tells_addresses_only_while_they_are_announced(tmp_path: Path) -> None:
    state = State(tmp_path)
    addresses = Addresses(gateways=("http://127.0.0.1:7001",), publisher="http://127.0.0.1:7080")
    with state.announced(addresses):
        assert state.addresses() == addresses
    assert state.addresses() == Addresses()


def test_a_second_stack_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    with (
        State(tmp_path).locked(),
        pytest.raises(Failure, match="already runs here"),
        State(tmp_path).locked(),
    ):
        pass
    with State(tmp_path).locked():
        pass

"""Secrets in variables and in files."""

from __future__ import annotations

from pathlib import Path

import pytest

from clarion_contract.service.secret_files import read_secret


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


@pytest.mark.parametrize(
    ("content", "secret"),
    [
        (b"secret", "secret"),
        (b"secret\n", "secret"),
        (b"secret\r\n", "secret"),
        (b"secret\n\n", "secret\n"),
        (b" sec\nret ", " sec\nret "),
    ],
)
def test_one_newline_at_the_end_is_left_out(file: Path, content: bytes, secret: str) -> None:
    file.write_bytes(content)
    assert read_secret("A", {"A_FILE": str(file)}) == secret
    assert read_secret("A", {"A_FILE": str(file), "A": ""}) == secret


def test_without_a_file() -> None:
    assert read_secret("A", {"A": " secret\n"}) == " secret\n"
    assert read_secret("A", {"A": "secret", "A_FILE": ""}) == "secret"
    assert read_secret("A", {"A": ""}) is None
    assert read_secret("A", {}) is None


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "expected a secret in the file that A_FILE names, got nothing"),
        (b"\n", "expected a secret in the file that A_FILE names, got nothing"),
        (b"secret\xff", "expected UTF-8 in the file that A_FILE names"),
        (None, "cannot read the file that A_FILE names: No such file or directory"),
    ],
)
def test_bad_files(file: Path, content: bytes | None, problem: str) -> None:
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ValueError, match=problem) as refused:
        read_secret("A", {"A_FILE": str(file)})
    assert str(refused.value) == problem


def test_not_both() -> None:
    with pytest.raises(ValueError, match="expected one of A and A_FILE, got both"):
        read_secret("A", {"A": "secret", "A_FILE": "/run/secrets/a"})


def test_a_secret_in_place_of_its_file_is_not_shown() -> None:
    with pytest.raises(ValueError, match="cannot read") as refused:
        read_secret("A", {"A_FILE": "hunter2"})
    assert "hunter2" not in str(refused.value)

"""`deploy.pins`, with real git repositories as the forge and a script as the image registry."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from deploy import pins
from deploy.pins import Unreachable

DIGEST = "sha256:" + "a" * 64
OTHER = "sha256:" + "b" * 64


def git(folder: Path, *arguments: str) -> str:
    identity = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (("NAME", "tests"), ("EMAIL", "tests@example.com"))
    }
    return subprocess.check_output(
        ["git", *arguments], cwd=folder, text=True, env={**os.environ, **identity}
    ).strip()


@pytest.fixture
def forge(tmp_path: Path) -> str:
    """A forge with one action in two versions; the tag of the second is annotated."""
    repository = tmp_path / "forge" / "some" / "action"
    repository.mkdir(parents=True)
    git(repository, "init", "--quiet")
    for number, options in ((1, []), (2, ["--annotate", "--message", "two"])):
        git(repository, "commit", "--quiet", "--allow-empty", "--message", str(number))
        git(repository, "tag", *options, f"v{number}.0.0")
    return (tmp_path / "forge").as_uri()


def commits(forge: str) -> list[str]:
    """The commits, newest first."""
    return git(
        Path(forge.removeprefix("file://")) / "some" / "action", "log", "--format=%H"
    ).split()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "root" / ".github" / "workflows").mkdir(parents=True)
    return tmp_path / "root"


def workflow(root: Path, uses: str) -> Path:
    path = root / ".github" / "workflows" / "ci.yml"
    path.write_text(f"jobs:\n  one:\n    steps:\n      - uses: {uses}\n        with: {{a: b}}\n")
    return path


@pytest.mark.parametrize(("tag", "index"), [("v1.0.0", 1), ("v2.0.0", 0)])
def test_a_commit_is_that_of_its_tag(forge: str, root: Path, tag: str, index: int) -> None:
    workflow(root, f"some/action@{commits(forge)[index]} # {tag}")
    assert pins.check_actions(root, forge=forge) == []


def test_another_commit_than_the_tags_is_found_and_mended(forge: str, root: Path) -> None:
    newest, oldest = commits(forge)
    path = workflow(root, f"some/action/inner@{oldest} # v2.0.0")
    assert pins.check_actions(root, forge=forge, write=True) == [
        f"ci.yml: some/action/inner v2.0.0 is {newest}, not {oldest}"
    ]
    assert f"- uses: some/action/inner@{newest} # v2.0.0\n" in path.read_text()
    assert pins.check_actions(root, forge=forge) == []


def test_a_tag_alone_is_no_pin(forge: str, root: Path) -> None:
    path = workflow(root, "some/action@v1.0.0")
    assert len(pins.check_actions(root, forge=forge, write=True)) == 1
    assert f"some/action@{commits(forge)[1]} # v1.0.0\n" in path.read_text()


@pytest.mark.parametrize("uses", ["some/action@v3.0.0", "no/action@v1.0.0"])
def test_what_cannot_be_told_is_not_called_good(forge: str, root: Path, uses: str) -> None:
    workflow(root, uses)
    with pytest.raises(Unreachable):
        pins.check_actions(root, forge=forge)


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registry: the folder's `docker` answers with the file `manifest`."""
    docker = tmp_path / "bin" / "docker"
    docker.parent.mkdir()
    docker.write_text(f"#!/bin/sh\ncat {tmp_path}/manifest\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{docker.parent}:{os.environ['PATH']}")
    return tmp_path / "manifest"


def manifest(digest: str, *architectures: str) -> str:
    platforms = [{"platform": {"os": "linux", "architecture": one}} for one in architectures]
    return json.dumps({"digest": digest, "manifests": platforms})


def test_the_image_has_both_platforms(root: Path, registry: Path) -> None:
    (root / "Dockerfile").write_text(f"FROM python:3.13-slim@{DIGEST} AS base\n")
    registry.write_text(manifest(DIGEST, "amd64", "arm64", "unknown"))
    assert pins.check_image(root) == []
    registry.write_text(manifest(DIGEST, "amd64"))
    assert pins.check_image(root) == ["Dockerfile: python:3.13-slim is not there for linux/arm64"]


def test_the_images_digest_is_renewed(root: Path, registry: Path) -> None:
    (root / "Dockerfile").write_text(f"# base\nFROM python:3.13-slim@{DIGEST} AS base\nFROM base\n")
    registry.write_text(manifest(OTHER, "amd64", "arm64"))
    assert pins.check_image(root, write=True) == []
    text = (root / "Dockerfile").read_text()
    assert text == f"# base\nFROM python:3.13-slim@{OTHER} AS base\nFROM base\n"


def test_our_own_pins_are_found() -> None:
    """The checks above would also pass if no pin were recognised."""
    found = [pin for path in pins.workflows() for pin in pins.pins(path.read_text())]
    assert sum(path.read_text().count(" uses: ") for path in pins.workflows()) == len(found) + 1, (
        "all but the workflow of our own"
    )
    dockerfile = (pins.ROOT / "Dockerfile").read_text()
    assert pins._IMAGE.search(dockerfile), "expected a digest in the Dockerfile"

"""Compares the pins in the workflows and the Dockerfile with the forge and the image registry.

A workflow names an action by its commit, with the tag beside it:
``uses: owner/name@<commit> # v1.2.3``. The Dockerfile names its base image by tag and digest. A tag
can be moved; a commit and a digest cannot. ``make pins`` checks that each tag still names its
commit, and that the digest is an image for every platform of a release. With ``--write`` it pins
whatever the tags name today. It needs a network and, for the image, docker.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[1]
FORGE: Final = "https://github.com"
PLATFORMS: Final = frozenset({"linux/amd64", "linux/arm64"})

_SECONDS: Final = 60
_USES: Final = re.compile(
    r"uses: (?P<action>(?P<repository>[\w.-]+/[\w.-]+)[\w./-]*)"
    r"@(?P<commit>\S+)(?: # (?P<tag>\S+))?$",
    re.MULTILINE,
)
_IMAGE: Final = re.compile(
    r"^FROM (?P<name>[\w./-]+:[\w.-]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))? AS base$",
    re.MULTILINE,
)


class Unreachable(Exception):
    """The forge or the registry did not answer as expected; the text names the request."""


@dataclass(frozen=True, slots=True)
class Pin:
    """An action that a workflow uses.

    Attributes:
        commit: the pinned commit; a tag if the action is not pinned yet.
        tag: the tag in the comment; the same as ``commit`` if the action is not pinned yet.
    """

    action: str
    repository: str
    commit: str
    tag: str

    @property
    def text(self) -> str:
        """The pin as the workflow spells it."""
        comment = "" if self.tag == self.commit else f" # {self.tag}"
        return f"{self.action}@{self.commit}{comment}"


def workflows(root: Path = ROOT) -> list[Path]:
    """The workflow files."""
    return sorted((root / ".github" / "workflows").glob("*.yml"))


def pins(text: str) -> Iterator[Pin]:
    """The actions in a workflow's text."""
    for match in _USES.finditer(text):
        tag = match["tag"] or match["commit"]
        yield Pin(match["action"], match["repository"], match["commit"], tag)


def commit_of(repository: str, tag: str, forge: str = FORGE) -> str:
    """The commit that a tag names today.

    Raises:
        Unreachable: the repository or the tag does not exist, or there is no network.
    """
    # With ^{}: the commit that an annotated tag points to, listed after the tag's own line.
    names = [f"refs/tags/{tag}", f"refs/tags/{tag}^{{}}"]
    found = _output("git", "ls-remote", f"{forge}/{repository}", *names).split()
    if not found:
        raise Unreachable(f"{repository} has no tag {tag}")
    return found[-2]


def image_digest(name: str) -> tuple[str, frozenset[str]]:
    """The digest of an image in its registry, and the platforms that it has.

    Raises:
        Unreachable: the image does not exist, or there is no docker or no network.
    """
    said = _output(
        "docker", "buildx", "imagetools", "inspect", name, "--format", "{{json .Manifest}}"
    )
    manifest: dict[str, Any] = json.loads(said)
    platforms = [one.get("platform", {}) for one in manifest.get("manifests", ())]
    return manifest["digest"], frozenset(
        f"{one.get('os')}/{one.get('architecture')}" for one in platforms
    )


def check_actions(root: Path = ROOT, *, forge: str = FORGE, write: bool = False) -> list[str]:
    """The errors in the pins of actions; ``write`` corrects them."""
    wrong = []
    known: dict[tuple[str, str], str] = {}
    for path in workflows(root):
        text = path.read_text()
        for pin in pins(text):
            key = (pin.repository, pin.tag)
            if key not in known:
                known[key] = commit_of(pin.repository, pin.tag, forge)
            if pin.commit != known[key]:
                where = f"{path.name}: {pin.action} {pin.tag}"
                wrong.append(f"{where} is {known[key]}, not {pin.commit}")
                text = text.replace(pin.text, f"{pin.action}@{known[key]} # {pin.tag}")
        if write:
            path.write_text(text)
    return wrong


def check_image(root: Path = ROOT, *, write: bool = False) -> list[str]:
    """The errors in the pin of the base image; ``write`` pins the tag's digest of today."""
    path = root / "Dockerfile"
    text = path.read_text()
    match = _IMAGE.search(text)
    if match is None:
        return ["Dockerfile: expected FROM <name>:<tag>@sha256:<digest> AS base"]
    if write or match["digest"] is None:
        digest, platforms = image_digest(match["name"])
        path.write_text(_IMAGE.sub(f"FROM {match['name']}@{digest} AS base", text))
    else:
        _, platforms = image_digest(f"{match['name']}@{match['digest']}")
    missing = sorted(PLATFORMS - platforms)
    return [f"Dockerfile: {match['name']} is not there for {', '.join(missing)}"] if missing else []


def _output(*command: str) -> str:
    try:
        done = subprocess.run(  # noqa: S603
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_SECONDS,
            check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Unreachable(f"{' '.join(command[:3])}: {error}") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines()[-1:] or ["no answer"]
        raise Unreachable(f"{' '.join(command[:5])}: {reason[0]}")
    return done.stdout


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the errors; return 1 if there are any, or if the pins cannot be checked."""
    parser = argparse.ArgumentParser(prog="python -m deploy.pins", description=__doc__)
    parser.add_argument("--write", action="store_true", help="pin whatever the tags name today")
    write = parser.parse_args(arguments).write
    try:
        wrong = [*check_actions(write=write), *check_image(write=write)]
    except Unreachable as error:
        print(f"pins: cannot be checked: {error}", file=sys.stderr)
        return 1
    print("\n".join(wrong) or "every pin matches its tag")
    return int(bool(wrong) and not write)


if __name__ == "__main__":
    sys.exit(main())

"""Prepares a release, and performs its single steps for the release workflow.

``make release VERSION=1.2.3`` calls ``prepare``. That writes the version to every place that holds
it, dates the changelog's entry, and puts the new version's wheel where the rolling upgrade test
finds it. It neither commits nor publishes. The tag ``v1.2.3`` publishes: it starts
`.github/workflows/release.yml`, which uses the other commands of this module. The module needs the
standard library, pip and git.
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import re
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
BASELINE: Final = Path("tests/upgrade")
"""The folder with the wheel of the last release."""

CHANGELOG: Final = Path("CHANGELOG.md")
CHART_VALUES: Final = Path("deploy/helm/clarion/values.yaml")
PYPROJECT: Final = Path("pyproject.toml")

_NUMBER: Final = r"(?:0|[1-9][0-9]*)"
_VERSION: Final = rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}"
_UNRELEASED: Final = "## Unreleased\n"


class ReleaseError(Exception):
    """The release cannot be made; the text says why and what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """A place in a file that holds the version.

    Attributes:
        before: a regular expression for the text before the version, from the start of its line.
    """

    path: str
    before: str

    @property
    def pattern(self) -> re.Pattern[str]:
        """A pattern whose group ``version`` is the version."""
        return re.compile(rf"^(?P<before>{self.before})(?P<version>{_VERSION})\b", re.MULTILINE)


PLACES: Final = (
    Place("pyproject.toml", 'version = "'),
    Place("Dockerfile", "ARG VERSION="),
    Place("deploy/helm/clarion/Chart.yaml", "version: "),
    Place("deploy/helm/clarion/Chart.yaml", "appVersion: "),
    Place("docs/kubernetes.md", r".*registry\.example\.com/clarion:"),
    Place("docs/kubernetes.md", ".*--build-arg VERSION="),
    Place("clients/js/package.json", '  "version": "'),
    Place("clients/js/package-lock.json", '  "version": "'),
    Place(
        "clients/js/package-lock.json", r'    "": \{\n      "name": "[^"]+",\n      "version": "'
    ),
)

URL_FILES: Final = (
    "pyproject.toml",
    "Dockerfile",
    "deploy/helm/clarion/Chart.yaml",
    "clients/js/package.json",
    "clients/js/README.md",
)
"""Files that hold the repository's address."""


def found_versions(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """The version in every place, as (where, version). The changelog's newest entry is included.

    Raises:
        ReleaseError: a place no longer exists.
    """
    for place in PLACES:
        path = root / place.path
        matches = list(place.pattern.finditer(path.read_text()))
        if not matches:
            raise ReleaseError(f"{place.path}: expected {place.before}<version>, found none")
        for match in matches:
            yield f"{place.path}: {match['before'].strip()}", match["version"]
    yield str(CHANGELOG), _entries(root)[0][0]


def current_version(root: Path = ROOT) -> str:
    """The version in pyproject.toml."""
    return str(_project(root)["version"])


def repository(root: Path = ROOT) -> str:
    """The repository's address in pyproject.toml."""
    return str(_project(root)["urls"]["Repository"])


def write(root: Path, version: str, today: dt.date, address: str | None = None) -> None:
    """Write the version, and the repository's address if one is given, into every place.

    Raises:
        ReleaseError: the text is not a version, or not above the current one, or the changelog has
            no changes since.
    """
    if not re.fullmatch(_VERSION, version):
        raise ReleaseError(f"expected a version like 1.2.3, found {version!r}")
    if _order(version) <= _order(current_version(root)):
        raise ReleaseError(f"expected a version above {current_version(root)}, found {version}")
    changelog = (root / CHANGELOG).read_text()
    _, _, rest = changelog.partition(_UNRELEASED)
    if not rest.partition("\n## ")[0].strip():
        raise ReleaseError(f"expected changes below {_UNRELEASED.strip()!r} in {CHANGELOG}")
    for place in PLACES:
        path = root / place.path
        path.write_text(place.pattern.sub(rf"\g<before>{version}", path.read_text()))
    entry = f"{_UNRELEASED}\n## {version} - {today.isoformat()}\n"
    (root / CHANGELOG).write_text(changelog.replace(_UNRELEASED, entry, 1))
    if address is not None:
        old = repository(root)
        for name in URL_FILES:
            path = root / name
            path.write_text(path.read_text().replace(old, address.removesuffix("/")))


def notes(version: str, root: Path = ROOT) -> str:
    """The changelog's entry of a version.

    Raises:
        ReleaseError: the version has none.
    """
    for name, text in _entries(root):
        if name == version:
            return text.strip() + "\n"
    raise ReleaseError(f"expected an entry {version} in {CHANGELOG}")


def check(tag: str, address: str, root: Path = ROOT) -> None:
    """Return if a tag may be released from the repository at an address.

    Raises:
        ReleaseError: a place holds another version, or the packages name another repository.
    """
    version = tag.removeprefix("v")
    wrong = [f"{where} {found}" for where, found in found_versions(root) if found != version]
    if wrong:
        raise ReleaseError(f"expected {version} everywhere: " + "; ".join(wrong))
    if repository(root) != address:
        raise ReleaseError(
            f"the packages name {repository(root)} as their repository, this is {address}: "
            "make release VERSION=… REPOSITORY=… writes it"
        )
    notes(version, root)


def build_wheel(folder: Path, root: Path = ROOT) -> None:
    """Build the wheel into a folder. The pinned hatchling makes the same bytes each time."""
    with tempfile.TemporaryDirectory() as tools:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        pinned = ["--constraint", str(root / "constraints.txt"), "--target", tools, "hatchling"]
        _run([*pip, *pinned], root)
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
        _run([*build, "--directory", str(folder.resolve())], root, PYTHONPATH=tools)


def set_image(name: str, digest: str, root: Path = ROOT) -> None:
    """Make an image the chart's default, by its name with the registry and its digest."""
    path = root / CHART_VALUES
    text = path.read_text()
    for key, value in (("repository", name), ("digest", digest)):
        line = re.compile(rf"^  {key}: .*$", re.MULTILINE)
        text, count = line.subn(f"  {key}: {value}", text, count=1)
        if not count:
            raise ReleaseError(f"expected image.{key} in {CHART_VALUES}")
    path.write_text(text)


def prepare(version: str, address: str | None, root: Path = ROOT) -> None:
    """Prepare the working tree for the release's commit.

    Raises:
        ReleaseError: there are uncommitted changes, or see `write`.
    """
    status = ["git", "status", "--porcelain"]
    if subprocess.check_output(status, cwd=root, text=True).strip():  # noqa: S603
        raise ReleaseError("expected a clean working tree: commit or stash your changes first")
    write(root, version, dt.datetime.now(dt.UTC).date(), address)
    for old in (root / BASELINE).glob("clarion-*.whl"):
        old.unlink()
    build_wheel(root / BASELINE, root)


def _project(root: Path) -> dict[str, object]:
    project: dict[str, object] = tomllib.loads((root / PYPROJECT).read_text())["project"]
    return project


def _entries(root: Path) -> list[tuple[str, str]]:
    """Versions and texts of the changelog, the newest first, without unreleased changes."""
    pattern = rf"^## ({_VERSION})(?: - [0-9-]+)?$"
    parts = re.split(pattern, (root / CHANGELOG).read_text(), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def _order(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _run(command: Sequence[str], root: Path, **changes: str) -> None:
    subprocess.run(command, cwd=root, env={**os.environ, **changes}, check=True)  # noqa: S603


def main(arguments: Sequence[str] | None = None) -> int:
    """See ``--help``."""
    parser = argparse.ArgumentParser(prog="python -m deploy.release", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare", help="write a version everywhere and build its wheel")
    one.add_argument("version")
    one.add_argument("--repository", metavar="URL", help="the repository's address from now on")
    one = commands.add_parser("check", help="check whether this repository may release a tag")
    one.add_argument("tag")
    one.add_argument("repository", metavar="URL")
    one = commands.add_parser("notes", help="print the changelog's entry of a version")
    one.add_argument("version")
    one = commands.add_parser("wheel", help="build the wheel into a folder")
    one.add_argument("folder", type=Path)
    one = commands.add_parser("image", help="make an image the chart's default")
    one.add_argument("name")
    one.add_argument("digest")
    options = parser.parse_args(arguments)
    try:
        match options.command:
            case "prepare":
                prepare(options.version, options.repository or None)
                print(_NEXT.format(version=options.version))
            case "check":
                check(options.tag, options.repository)
            case "notes":
                print(notes(options.version), end="")
            case "wheel":
                build_wheel(options.folder)
            case "image":
                set_image(options.name, options.digest)
    except ReleaseError as error:
        print(f"release: {error}", file=sys.stderr)
        return 1
    return 0


_NEXT: Final = """\
Version {version} is written. Look it over, then:

  make pins check test
  git add --all && git commit --message 'Release {version}'
  git tag --sign v{version} && git push origin main v{version}

The tag starts the release workflow. Nothing has been committed or published yet."""


if __name__ == "__main__":
    sys.exit(main())

"""Prepares a release, and says what a release is made of.

``make release VERSION=1.2.3`` calls ``prepare``. It writes the version everywhere it stands, dates
the changelog's entry, and puts the new version's wheel where the rolling upgrade test finds it. It
commits and publishes nothing. The tag ``v1.2.3`` publishes: it starts
`.github/workflows/release.yml`, which uses the other commands of this module. Needs the standard
library, pip and git.
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
"""Where the wheel of the last release stands."""

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
    """Where the version stands in a file.

    Attributes:
        before: a regular expression for what stands before it, from the start of a line.
        optional: whether the file may be missing.
    """

    path: str
    before: str
    optional: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        """Its group ``version`` is the version."""
        return re.compile(rf"^(?P<before>{self.before})(?P<version>{_VERSION})\b", re.MULTILINE)


PLACES: Final = (
    Place("pyproject.toml", 'version = "'),
    Place("Dockerfile", "ARG VERSION="),
    Place("deploy/helm/clarion/Chart.yaml", "version: "),
    Place("deploy/helm/clarion/Chart.yaml", "appVersion: "),
    Place("docs/kubernetes.md", r".*registry\.example\.com/clarion:"),
    Place("docs/kubernetes.md", ".*--build-arg VERSION="),
    Place("clients/js/package.json", '  "version": "', optional=True),
)

URL_FILES: Final = ("pyproject.toml", "Dockerfile", "deploy/helm/clarion/Chart.yaml")
"""Files that name the repository's address."""


def found_versions(root: Path = ROOT) -> Iterator[tuple[str, str]]:
    """What every place says, as (where, version); the newest entry of the changelog is one too.

    Raises:
        ReleaseError: a place is gone.
    """
    for place in PLACES:
        path = root / place.path
        if place.optional and not path.exists():
            continue
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
        ReleaseError: it is no version, or not above the current one, or nothing has changed since.
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
        if path.exists():
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
        ReleaseError: it has none.
    """
    for name, text in _entries(root):
        if name == version:
            return text.strip() + "\n"
    raise ReleaseError(f"expected an entry {version} in {CHANGELOG}")


def check(tag: str, address: str, root: Path = ROOT) -> None:
    """Return if a tag may be released from the repository at an address.

    Raises:
        ReleaseError: a place says another version, or the packages name another repository.
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
    """Make an image the chart's default: its name with the registry, and its digest."""
    path = root / CHART_VALUES
    text = path.read_text()
    for key, value in (("repository", name), ("digest", digest)):
        line = re.compile(rf"^  {key}: .*$", re.MULTILINE)
        text, count = line.subn(f"  {key}: {value}", text, count=1)
        if not count:
            raise ReleaseError(f"expected image.{key} in {CHART_VALUES}")
    path.write_text(text)


def prepare(version: str, address: str | None, root: Path = ROOT) -> None:
    """Make the working tree that a release is committed from.

    Raises:
        ReleaseError: there are changes that are not committed, or see `write`.
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
    """Versions and texts of the changelog, the newest first, without what is unreleased."""
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
    one.add_argument("--repository", metavar="URL", help="where the repository is from now on")
    one = commands.add_parser("check", help="may this tag be released from this repository?")
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

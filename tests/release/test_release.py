"""`deploy.release`: one version everywhere, and no half-made release."""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from deploy import release
from deploy.release import PLACES, ROOT, URL_FILES, ReleaseError

TODAY = dt.date(2030, 1, 2)
ADDRESS = "https://forge.example/somebody/else"
CURRENT = release.current_version()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the files that a release changes, with an unreleased change in the changelog."""
    for name in {"CHANGELOG.md", *URL_FILES, *(place.path for place in PLACES)}:
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    changelog = tmp_path / "CHANGELOG.md"
    unreleased = "## Unreleased\n\n### Fixed\n\n- Nothing was lost.\n"
    changelog.write_text(changelog.read_text().replace("## Unreleased\n", unreleased, 1))
    return tmp_path


def tracked_files() -> list[Path]:
    names = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    return [ROOT / name for name in names]


def test_every_place_says_the_same_version() -> None:
    """If it fails: make release VERSION=…"""
    assert dict(release.found_versions()) == {
        where: CURRENT for where, _ in release.found_versions()
    }


def test_the_last_release_is_what_upgrades_are_tested_against() -> None:
    assert [wheel.name for wheel in (ROOT / release.BASELINE).glob("*.whl")] == [
        f"clarion-{CURRENT}-py3-none-any.whl"
    ]


def test_a_release_leaves_the_old_version_nowhere(tree: Path) -> None:
    release.write(tree, "98.7.6", TODAY)

    assert {version for _, version in release.found_versions(tree)} == {"98.7.6"}
    for name in {place.path for place in PLACES}:
        if (tree / name).exists():
            assert CURRENT not in (tree / name).read_text(), name


def test_no_file_names_the_version_without_being_a_place() -> None:
    """Checks the files that could name Clarion's own version."""
    written = re.compile(
        rf"clarion[^\n ]*[:@= ]v?{re.escape(CURRENT)}\b|VERSION[=: ]+\"?{re.escape(CURRENT)}\b"
    )
    places = {ROOT / place.path for place in PLACES} | {ROOT / "CHANGELOG.md"}
    texts = [path for path in tracked_files() if path.suffix in {".md", ".yaml", ".yml", ".toml"}]
    assert len(texts) > 30
    assert [
        path.name for path in texts if path not in places and written.search(path.read_text())
    ] == []


def test_the_changelog_gets_a_dated_entry_and_an_empty_one(tree: Path) -> None:
    release.write(tree, "98.7.6", TODAY)

    assert "## Unreleased\n\n## 98.7.6 - 2030-01-02\n" in (tree / "CHANGELOG.md").read_text()
    assert "- Nothing was lost.\n" in release.notes("98.7.6", tree)
    assert "The first version" not in release.notes("98.7.6", tree)
    assert "The first version" in release.notes("0.1.0", tree)


def test_the_repositorys_address_is_written_with_it(tree: Path) -> None:
    old = release.repository(tree)
    release.write(tree, "98.7.6", TODAY, ADDRESS + "/")

    assert release.repository(tree) == ADDRESS
    for name in URL_FILES:
        text = (tree / name).read_text()
        assert ADDRESS in text
        assert old not in text


@pytest.mark.parametrize("name", URL_FILES)
def test_all_files_name_one_repository(name: str) -> None:
    addresses = set(re.findall(r"https://[\w.-]+/[\w.-]+/[\w.-]+", (ROOT / name).read_text()))
    assert addresses == {release.repository()}


@pytest.mark.parametrize("version", ["1.2", "1.2.3rc1", "v1.2.3", "01.2.3", "", CURRENT, "0.0.9"])
def test_what_is_no_next_version_is_refused(tree: Path, version: str) -> None:
    before = (tree / "pyproject.toml").read_text()
    with pytest.raises(ReleaseError, match="expected a version"):
        release.write(tree, version, TODAY)
    assert (tree / "pyproject.toml").read_text() == before


def test_nothing_to_say_is_nothing_to_release(tree: Path) -> None:
    release.write(tree, "98.7.6", TODAY)
    with pytest.raises(ReleaseError, match="expected changes below"):
        release.write(tree, "98.7.7", TODAY)


def test_a_tag_is_released_from_its_own_repository_only(tree: Path) -> None:
    release.write(tree, "98.7.6", TODAY, ADDRESS)

    release.check("v98.7.6", ADDRESS, tree)
    with pytest.raises(ReleaseError, match=r"expected 98\.7\.5 everywhere"):
        release.check("v98.7.5", ADDRESS, tree)
    with pytest.raises(ReleaseError, match="the packages name"):
        release.check("v98.7.6", "https://forge.example/a/fork", tree)


@pytest.mark.parametrize("place", PLACES, ids=lambda place: f"{place.path} {place.before}")
def test_a_forgotten_place_stops_a_tag(tree: Path, place: release.Place) -> None:
    release.write(tree, "98.7.6", TODAY)
    path = tree / place.path
    path.write_text(place.pattern.sub(r"\g<before>98.7.5", path.read_text()))
    with pytest.raises(ReleaseError, match=r"98\.7\.5"):
        release.check("v98.7.6", release.repository(tree), tree)


def test_the_chart_names_the_image_by_its_digest(tmp_path: Path) -> None:
    values = tmp_path / release.CHART_VALUES
    values.parent.mkdir(parents=True)
    shutil.copy(ROOT / release.CHART_VALUES, values)
    digest = "sha256:" + "a" * 64
    release.set_image("registry.example/us/clarion", digest, tmp_path)

    changed = values.read_text().splitlines()
    lines = (ROOT / release.CHART_VALUES).read_text().splitlines()
    assert [new for old, new in zip(lines, changed, strict=True) if old != new] == [
        "  repository: registry.example/us/clarion",
        f"  digest: {digest}",
    ]


def test_uncommitted_work_is_not_mixed_into_a_release(
    tree: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tree, check=True)
    with pytest.raises(ReleaseError, match="clean working tree"):
        release.prepare("98.7.6", None, tree)


def test_the_command_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    assert release.main(["check", "v98.7.6", ADDRESS]) == 1
    assert capsys.readouterr().err.startswith("release: expected 98.7.6 everywhere")

"""The forge's workflows pass actionlint, are pinned, and have only the rights that they need."""

from __future__ import annotations

import re
import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy import pins

ROOT = Path(__file__).parents[2]
WORKFLOWS = pins.workflows()

Job = dict[str, Any]


def jobs(path: Path) -> dict[str, Job]:
    found: dict[str, Job] = yaml.safe_load(path.read_text())["jobs"]
    return found


ALL_JOBS = [
    pytest.param(job, id=f"{path.stem} {name}")
    for path in WORKFLOWS
    for name, job in jobs(path).items()
]


@pytest.mark.skipif(not shutil.which("actionlint"), reason="no actionlint here: see .ci/run")
def test_actionlint_finds_nothing() -> None:
    """It checks scripts with shellcheck too, if that is installed."""
    done = subprocess.run(
        ["actionlint", "-no-color", *map(str, WORKFLOWS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_action_is_pinned_to_a_commit(path: Path) -> None:
    """With its tag beside it, which `make pins` compares."""
    found = list(pins.pins(path.read_text()))
    assert found
    for pin in found:
        assert re.fullmatch(r"[0-9a-f]{40}", pin.commit), pin
        assert re.fullmatch(r"v\d+\.\d+\.\d+", pin.tag), pin


def test_one_action_has_one_pin() -> None:
    found = {
        (pin.action, pin.commit, pin.tag) for one in WORKFLOWS for pin in pins.pins(one.read_text())
    }
    assert len(found) == len({action for action, _, _ in found})


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_may_read_and_no_more(path: Path) -> None:
    assert yaml.safe_load(path.read_text())["permissions"] == {"contents": "read"}


@pytest.mark.parametrize("job", ALL_JOBS)
def test_a_job_with_rights_stands_behind_an_environment(job: Job) -> None:
    """The environment needs a person's approval. No job can hang for ever."""
    writes = [name for name, right in job.get("permissions", {}).items() if right == "write"]
    assert not writes or "environment" in job, writes
    assert "timeout-minutes" in job or "uses" in job


@pytest.mark.parametrize("job", ALL_JOBS)
def test_no_checkout_leaves_a_token_behind(job: Job) -> None:
    for step in job.get("steps", ()):
        if step.get("uses", "").startswith("actions/checkout@"):
            assert step["with"]["persist-credentials"] is False


@pytest.mark.parametrize("job", ALL_JOBS)
def test_no_script_is_made_of_what_strangers_write(job: Job) -> None:
    """An expression in a script is text, and the name of a branch or tag can break out of it."""
    for step in job.get("steps", ()):
        assert "${{" not in step.get("run", ""), step["run"]


def test_nothing_is_published_before_everything_is_tested() -> None:
    release = jobs(ROOT / ".github" / "workflows" / "release.yml")

    def before(name: str) -> set[str]:
        needs = release[name].get("needs", [])
        direct = {needs} if isinstance(needs, str) else set(needs)
        return direct.union(*map(before, direct))

    publishing = {name for name, job in release.items() if "environment" in job}
    assert publishing == {"image", "sign", "chart", "pypi", "npm", "page"}
    for name in publishing:
        assert before(name) >= {"verify", "test"}, name


def test_every_supported_python_is_tested() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    classified = re.findall(r"Python :: (3\.\d+)", "\n".join(project["classifiers"]))
    tested = jobs(ROOT / ".github" / "workflows" / "ci.yml")["test"]["strategy"]["matrix"]["python"]
    assert tested == classified
    assert project["requires-python"] == f">={tested[0]}"


@pytest.mark.parametrize("workflow", ["ci.yml", "release.yml"])
def test_the_image_is_built_for_the_platforms_that_the_base_image_is_checked_for(
    workflow: str,
) -> None:
    rows = jobs(ROOT / ".github" / "workflows" / workflow)["image"]["strategy"]["matrix"]["include"]
    assert {row["platform"] for row in rows} == pins.PLATFORMS

"""The packages' metadata, and the installation commands in texts for users."""

from __future__ import annotations

import re
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import yaml

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = PYPROJECT["project"]


def test_the_licence_is_the_whole_one() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.lstrip().startswith("Apache License\n")
    for part in ("9. Accepting Warranty", "END OF TERMS AND CONDITIONS", "APPENDIX: How to apply"):
        assert part in text
    assert PROJECT["license"] == "Apache-2.0"
    assert PROJECT["license-files"] == ["LICENSE"]
    assert not any(classifier.startswith("License ::") for classifier in PROJECT["classifiers"]), (
        "PEP 639: the expression says it"
    )


def test_every_package_that_people_import_is_typed() -> None:
    """mypy uses the annotations of an installed package only if it contains this file."""
    wheel = PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    tools = ("bench/", "examples/", "clients/page/")
    importable = [name for name in wheel if not name.startswith(tools)]
    assert importable
    assert [name for name in importable if not (ROOT / name / "py.typed").exists()] == []


def test_the_chart_says_where_it_comes_from() -> None:
    chart = yaml.safe_load((ROOT / "deploy" / "helm" / "clarion" / "Chart.yaml").read_text())
    assert chart["home"] == chart["sources"][0] == PROJECT["urls"]["Repository"]
    assert chart["maintainers"]
    assert chart["annotations"]["artifacthub.io/license"] == PROJECT["license"]
    icon = chart["icon"].partition("/raw/main/")[2]
    assert (ROOT / icon).exists()
    for link in yaml.safe_load(chart["annotations"]["artifacthub.io/links"]):
        assert (ROOT / link["url"].partition("/blob/main/")[2]).exists(), link


def test_hints_name_packages_that_registries_have() -> None:
    """Until Clarion itself is on PyPI, nobody can install it by name: a hint names what it needs."""
    requirements = chain(PROJECT["dependencies"], *PROJECT["optional-dependencies"].values())
    known = {re.split(r"[^\w.-]", requirement)[0].lower() for requirement in requirements}
    hinted = set()
    names = subprocess.check_output(["git", "ls-files"], cwd=ROOT, text=True).splitlines()
    for name in names:
        path = ROOT / name
        if path.suffix not in {".py", ".md", ".txt", ".yaml"} or name.startswith("tests/"):
            continue
        for words in re.findall(r"\b(?:pip|pipx) install ([^`,;)\n]+)", path.read_text()):
            for word in words.strip("\"'").split():
                if re.match(r"[a-z]", word, re.IGNORECASE) and word not in {"or", "and"}:
                    hinted.add((name, re.split(r"[\[=<>'\"]", word)[0].lower()))
    assert hinted
    assert {(file, word) for file, word in hinted if word == "clarion"} == set()
    assert {word for file, word in hinted if file.startswith("cli/")} <= known | {"{error.name}"}

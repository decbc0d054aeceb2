"""The files generated from values.yaml are up to date, and every value has an explanation."""

from __future__ import annotations

import json

import yaml

from deploy.helm import pages


def test_the_readme_is_what_the_values_make_of_it() -> None:
    assert pages.README.read_text() == pages.readme(), "run: python -m deploy.helm.pages"


def test_the_schema_is_what_the_values_make_of_it() -> None:
    assert json.loads(pages.SCHEMA.read_text()) == pages.schema(), (
        "run: python -m deploy.helm.pages"
    )


def test_every_number_has_its_reason() -> None:
    """A number without a comment above it may be a guess."""
    unexplained = [
        value.path
        for value in pages.values()
        if isinstance(value.default, int | float)
        and not isinstance(value.default, bool)
        and not value.description
    ]
    # The periods of probes stand beside the thresholds that explain them.
    assert [path for path in unexplained if ".probes." not in path] == []


def test_every_quantity_has_its_reason() -> None:
    quantities = [value for value in pages.values() if ".resources." in value.path]
    unexplained = {value.path for value in quantities if isinstance(value.default, str)}
    unexplained -= {value.path for value in quantities if value.description}
    assert unexplained == set()


def test_every_key_of_the_values_is_found() -> None:
    """The parser of comments reads values.yaml by lines: it must see every key that YAML sees."""

    def leaves(node: object, path: str = "") -> set[str]:
        if isinstance(node, dict) and node:
            return {leaf for key in node for leaf in leaves(node[key], f"{path}.{key}".lstrip("."))}
        return {path}

    found = {
        value.path
        for value in pages.values()
        if not (isinstance(value.default, dict) and value.default)
    }
    assert found == leaves(yaml.safe_load(pages.VALUES.read_text()))

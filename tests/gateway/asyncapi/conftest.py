"""The official JSON Schema of AsyncAPI 3.0, from npm."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest

HERE = Path(__file__).parent
NPM_SECONDS = 600


@pytest.fixture(scope="session")
def official(tmp_path_factory: pytest.TempPathFactory) -> Callable[[dict[str, Any]], None]:
    """Fails if a document is not valid."""
    if shutil.which("npm") is None:
        pytest.skip("needs npm on PATH for the schema of AsyncAPI")
    folder = tmp_path_factory.mktemp("asyncapi")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(HERE / name, folder)
    command = ["npm", "ci", "--no-audit", "--no-fund"]
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False, timeout=NPM_SECONDS
    )
    assert done.returncode == 0, done.stdout + done.stderr
    schemas = folder / "node_modules" / "@asyncapi" / "specs" / "schemas"
    validator = jsonschema.Draft7Validator(json.loads((schemas / "3.0.0.json").read_text()))

    def check(document: dict[str, Any]) -> None:
        assert not [error.message for error in validator.iter_errors(document)]
        # The schema does not say that references lead somewhere.
        for reference in references(document):
            found = document
            for step in reference.removeprefix("#/").split("/"):
                found = found[step]

    return check


def references(value: Any) -> list[str]:
    if isinstance(value, list):
        return [found for each in value for found in references(each)]
    if not isinstance(value, dict):
        return []
    own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
    return own + [found for each in value.values() for found in references(each)]

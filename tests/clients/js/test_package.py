"""`clients/js` as a package: its own tests, its size, and how applications import it."""

from __future__ import annotations

import gzip
import json
import re
import runpy
import tarfile
from pathlib import Path

import pytest

from tests.cli.clarion import ROOT
from tests.clients.js.conftest import PACKAGE, run

CORE_MAX_BYTES = 5 * 1024


def test_its_own_tests_pass(package: Path) -> None:
    run("npm", "test", cwd=package)


def test_the_core_is_small(package: Path) -> None:
    core = (package / "dist" / "index.js").read_bytes()
    assert len(gzip.compress(core, mtime=0)) <= CORE_MAX_BYTES


def test_it_depends_on_nothing(application: Path) -> None:
    manifest = json.loads((PACKAGE / "package.json").read_text())
    assert not {"dependencies", "optionalDependencies"} & set(manifest)
    optional = manifest["peerDependenciesMeta"]
    assert manifest["peerDependencies"].keys() == {"react"}, "which /react alone needs"
    assert all(optional[name] == {"optional": True} for name in manifest["peerDependencies"])


def test_the_tarball_holds_what_is_needed_only(application: Path) -> None:
    (tarball,) = application.glob("*.tgz")
    with tarfile.open(tarball) as archive:
        names = {name.removeprefix("package/") for name in archive.getnames()}
    tops = {name.partition("/")[0] for name in names}
    assert tops == {"LICENSE", "README.md", "dist", "package.json"}


@pytest.mark.parametrize("extension", ["mjs", "cjs"])
def test_it_can_be_imported_and_required(application: Path, extension: str) -> None:
    names = "createClient, fetchToken, Stop, RefusalError"
    source = {
        "mjs": f'import {{ {names} }} from "@clarion/client";',
        "cjs": f'const {{ {names} }} = require("@clarion/client");',
    }
    program = application / f"uses.{extension}"
    program.write_text(
        source[extension]
        + f"\nif (![{names}].every((f) => typeof f === 'function')) process.exit(1);\n"
    )
    run("node", program.name, cwd=application)


@pytest.mark.parametrize(
    ("module", "extension"), [("NodeNext", "mts"), ("NodeNext", "cts"), ("ESNext", "mts")]
)
def test_its_types_are_strict(application: Path, module: str, extension: str) -> None:
    """Events and messages are typed by maps; a wrong use is an error, marked as expected."""
    program = application / f"typed-{module}.{extension}"
    program.write_text((Path(__file__).parent / "typed.ts").read_text())
    resolution = "NodeNext" if module == "NodeNext" else "Bundler"
    options = ["--strict", "--noEmit", "--target", "ES2022", "--lib", "ES2022,DOM"]
    run(
        "npx", "--no-install", "tsc", *options,
        "--module", module, "--moduleResolution", resolution, program.name,
        cwd=application,
    )  # fmt: skip


def test_the_development_page_has_this_client(package: Path, tmp_path: Path) -> None:
    run("node", "build.js", str(tmp_path / "client.js"), cwd=package)
    page = ROOT / "clients" / "page" / "clarion_dev_page" / "static" / "client.js"
    built = (tmp_path / "client.js").read_text()
    assert page.read_text() == built, "run npm run build in clients/js"


def test_its_table_of_ends_is_the_gateways() -> None:
    script = runpy.run_path(str(PACKAGE / "verdicts.py"))
    assert script["TARGET"].read_text() == script["text"](), "run python clients/js/verdicts.py"


def test_the_build_renames_no_label(package: Path) -> None:
    """It shortens names of the package's own, and would shorten a label that is named alike."""
    table = (PACKAGE / "src" / "verdicts.ts").read_text().partition("AFTER_STREAM")[2]
    rows = re.findall(r'^  (\w+): (".+"),$', table, re.MULTILINE)
    built = (package / "dist" / "sse.js").read_text()
    assert rows
    assert [row for row in rows if ":".join(row) not in built] == []


LOCKS = sorted(
    path for path in ROOT.glob("[!.]*/**/package-lock.json") if "node_modules" not in path.parts
)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_lock_file_names_no_registry(lock: Path) -> None:
    """Versions and checksums only. npm adds `funding`, whose addresses take donations: delete it."""
    text = lock.read_text()
    assert '"resolved"' not in text
    assert '"funding"' not in text
    assert "://" not in text

"""`clarion asyncapi` and `clarion types`, as processes: from code, files, and a running gateway."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.clarion import Clarion
from tests.clients.js.web import served

HANDLERS = """
import msgspec
from clarion import Context, Handlers

handlers = Handlers()

class Place(msgspec.Struct):
    x: int

@handlers.on("place")
async def place(message: Place, context: Context) -> str:
    return "done"
"""


@pytest.fixture
def application(tmp_path: Path) -> Path:
    (tmp_path / "shop.py").write_text(HANDLERS)
    (tmp_path / "order.updated.json").write_text('{"properties": {"id": {"type": "integer"}}}')
    return tmp_path


def test_the_document_of_a_folder(clarion: Clarion, application: Path) -> None:
    done = clarion.run(
        "asyncapi", "--handlers", "shop:handlers", "--catalogue", "order.updated.json",
        "--title", "Shop", "--api-version", "2.0.0",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["asyncapi"] == "3.0.0"
    assert (document["info"]["title"], document["info"]["version"]) == ("Shop", "2.0.0")
    assert {"receivePlace", "sendAll"} <= document["operations"].keys()


def test_the_types_of_a_folder(clarion: Clarion, application: Path) -> None:
    done = clarion.run(
        "types", GATEWAY_HANDLERS="shop:handlers", CLARION_CATALOGUE="order.updated.json"
    )
    assert done.returncode == 0, done.stderr
    assert '"order.updated": OrderUpdated;' in done.stdout
    assert "data: Place;" in done.stdout
    assert "reply: string;" in done.stdout


def test_the_types_of_a_document(clarion: Clarion, application: Path, tmp_path: Path) -> None:
    document = clarion.run("asyncapi", "--handlers", "shop:handlers").stdout
    (tmp_path / "asyncapi.json").write_text(document)
    by_code = clarion.run("types", "--handlers", "shop:handlers").stdout
    with served(tmp_path) as address:
        by_url = clarion.run("types", f"{address}/asyncapi.json").stdout
    by_file = clarion.run("types", "asyncapi.json").stdout
    by_input = clarion.run("types", "-", stdin=document.encode()).stdout
    assert "place" in by_code
    assert by_code == by_file == by_input == by_url


@pytest.mark.parametrize("option", ["--handlers", "--catalogue"])
def test_a_document_and_an_option_that_it_leaves_without_effect(
    clarion: Clarion, option: str
) -> None:
    said = clarion.fails("types", "asyncapi.json", option, "shop")
    assert f"expected SOURCE or {option}, got both" in said


def test_variables_of_the_shell_may_stand_beside_a_document(
    clarion: Clarion, application: Path, tmp_path: Path
) -> None:
    document = clarion.run("asyncapi", "--handlers", "shop:handlers").stdout
    (tmp_path / "asyncapi.json").write_text(document)
    done = clarion.run(
        "types", "asyncapi.json", GATEWAY_HANDLERS="none:none", CLARION_CATALOGUE="none"
    )
    assert "place" in done.stdout


def test_handlers_that_cannot_be_imported(clarion: Clarion) -> None:
    assert "nothing_here" in clarion.fails("asyncapi", "--handlers", "nothing_here:handlers")
    assert "expected --handlers MODULE:NAME" in clarion.fails(
        "asyncapi", "--handlers", "nothing_here"
    )


def test_a_catalogue_with_mistakes(clarion: Clarion, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('{"type": "strin"}')
    assert "clarion events check" in clarion.fails("types", "--catalogue", "a.json")


@pytest.mark.parametrize(
    "text", ["no json", "[]", '{"asyncapi": "2.6.0"}', '{"asyncapi": "3.0.0"}']
)
def test_what_is_no_document_of_clarion(clarion: Clarion, tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    assert "expected an AsyncAPI" in clarion.fails("types", "a.json")


def test_nothing_runs(clarion: Clarion) -> None:
    said = clarion.fails("types", "http://127.0.0.1:1/asyncapi.json")
    assert "127.0.0.1:1" in said
    assert "No such file" in clarion.fails("types", "missing.json")

"""`clarion outbox init` and what `clarion check` says of an outbox, on a real PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.outbox import apply, embedded_by_default
from tests.cli.clarion import Clarion
from tests.cli.test_check import SECRET, about, checked, messages
from tests.e2e.ports import free_port
from tests.postgres import Outbox, Postgres, postgresql


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("up", "up"),
        ("up --outbox", "up --outbox embedded"),
        ("up --outbox --gateways 3", "up --outbox embedded --gateways 3"),
        ("up --outbox postgresql://db/shop", "up --outbox postgresql://db/shop"),
        ("up --outbox=postgresql://db/shop", "up --outbox=postgresql://db/shop"),
        ("publish --outbox", "publish --outbox"),
    ],
)
def test_the_outbox_of_up_needs_no_url(given: str, meant: str) -> None:
    assert embedded_by_default(given.split()) == meant.split()


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with postgresql() as server:
        yield server


@pytest.fixture
def empty(postgres: Postgres) -> Outbox:
    """A database without an outbox."""
    found = Outbox(postgres, "empty")
    postgres.execute("DROP DATABASE IF EXISTS empty")
    postgres.execute("CREATE DATABASE empty")
    return found


def test_it_makes_the_tables_once(clarion: Clarion, empty: Outbox) -> None:
    first, again = (clarion.run("outbox", "init", empty.url) for _ in range(2))
    assert json.loads(first.stdout) == {"kind": "outbox", "version": 2, "was": None}
    assert json.loads(again.stdout) == {"kind": "outbox", "version": 2, "was": 2}
    empty.execute("SELECT clarion_publish('all', 'tick')")
    assert empty.waiting == 1


async def test_up_needs_no_right_to_make_tables_that_are_there(empty: Outbox) -> None:
    await apply(empty.url, notify=None)
    empty.execute("DROP ROLE IF EXISTS reading")
    empty.execute("CREATE USER reading")
    empty.execute("GRANT SELECT ON clarion_outbox_version TO reading")
    url = empty.url.replace("postgres@", "reading@")
    assert await apply(url, notify=None, again=False) == (2, 2)
    with pytest.raises(Failure, match=r"permission denied|must be owner"):
        await apply(url, notify=None)
    empty.execute("UPDATE clarion_outbox_version SET version = 1")
    with pytest.raises(Failure, match=r"permission denied|must be owner"):
        await apply(url, notify=None, again=False)
    empty.execute("DROP OWNED BY reading")


def test_the_url_and_a_password_in_a_file_come_from_the_environment(
    clarion: Clarion, empty: Outbox, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("hush\n")
    done = clarion.run(
        "outbox", "init", "--text", "--notify",
        PUBLISHER_OUTBOX_URL=empty.url,
        PUBLISHER_OUTBOX_PASSWORD_FILE=str(tmp_path / "password"),
    )  # fmt: skip
    assert done.stdout == "made the outbox, version 2\n", done.stderr
    assert empty.rows("SELECT count(*) FROM pg_trigger WHERE NOT tgisinternal") == [(1,)]


def test_what_it_prints_can_be_run_by_hand(clarion: Clarion, empty: Outbox) -> None:
    printed = clarion.run("outbox", "init", "--print", "--notify")
    assert printed.returncode == 0, printed.stderr
    for _ in range(2):
        empty.execute(printed.stdout)
    assert empty.rows("SELECT version FROM clarion_outbox_version") == [(2,)]


@pytest.mark.parametrize(
    ("url", "code", "said"),
    [
        (None, ExitCode.USAGE, "PUBLISHER_OUTBOX_URL"),
        ("mysql://a:hush@db/shop", ExitCode.USAGE, "expected postgresql://"),
        ("postgresql://a:hush@db/shop?sllmode=off", ExitCode.USAGE, "unknown option"),
        ("postgresql://a:hush@127.0.0.1:{free}/shop", ExitCode.UNREACHABLE, "refused"),
        ("postgresql://postgres:hush@127.0.0.1:{port}/nowhere", ExitCode.REFUSED, "not exist"),
    ],
)
def test_what_is_wrong_is_told_in_a_line(
    clarion: Clarion, postgres: Postgres, url: str | None, code: ExitCode, said: str
) -> None:
    arguments = [] if url is None else [url.format(free=free_port(), port=postgres.port)]
    done = clarion.run("outbox", "init", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert "hush" not in done.stderr


def test_check_tries_the_outbox(clarion: Clarion, empty: Outbox) -> None:
    options = {
        "CLARION_JWT_SECRET": SECRET,
        "CLARION_REDIS_URL": f"redis://127.0.0.1:{free_port()}",
        "PUBLISHER_OUTBOX_URL": empty.url,
    }
    outbox = "PUBLISHER_OUTBOX_URL"
    missing = checked(clarion, code=ExitCode.UNREACHABLE, **options)
    assert outbox in about(missing, "error")
    assert "no table clarion_outbox" in messages(missing)
    clarion.run("outbox", "init", empty.url)
    empty.execute("UPDATE clarion_outbox_version SET version = 0")
    assert "version 0" in messages(checked(clarion, code=ExitCode.UNREACHABLE, **options))
    empty.execute("UPDATE clarion_outbox_version SET version = 1")
    older = checked(clarion, code=ExitCode.UNREACHABLE, **options)
    assert "of version 1; `clarion outbox init` brings it to 2" in messages(older, "warning")
    clarion.run("outbox", "init", empty.url)
    empty.execute(
        "INSERT INTO clarion_outbox_refused "
        "VALUES (1, 'x', 'x', 'null', NULL, NULL, true, now(), now(), 'because')"
    )
    found = checked(clarion, code=ExitCode.UNREACHABLE, **options)
    assert outbox in about(found, "ok")
    assert "holds 1 rows" in messages(found, "warning")
    offline = checked(clarion, "--offline", "--service", "publisher", **options)
    assert outbox not in about(offline, "ok")


def test_check_reads_the_charts_values(clarion: Clarion) -> None:
    values = clarion.folder / "values.yaml"
    given = (
        ("{url: mysql://db/shop}", "error", "expected postgresql://"),
        ("{existingSecret: {name: db}}", "warning", "only the cluster knows its database"),
    )
    for outbox, level, said in given:
        text = f"auth: {{secret: {SECRET}}}\nredis: {{existingSecret: {{name: r}}}}\n"
        values.write_text(f"{text}publisher: {{outbox: {outbox}}}\n")
        code = ExitCode.USAGE if level == "error" else ExitCode.DONE
        assert said in messages(checked(clarion, "--values", str(values), code=code), level)

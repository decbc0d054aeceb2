"""The checks of `clarion up` before anything is started; tests/e2e/test_up.py starts it."""

from __future__ import annotations

import pytest

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.outbox import EMBEDDED
from clarion_cli.up import check_handlers, find_outbox


@pytest.mark.parametrize(
    ("outbox", "extra"),
    [(EMBEDDED, "postgres-embedded"), ("postgresql://me@127.0.0.1/shop", "postgres")],
)
def test_an_outbox_without_a_driver_names_the_extra(
    monkeypatch: pytest.MonkeyPatch, outbox: str, extra: str
) -> None:
    monkeypatch.setattr("clarion_cli.up.find_spec", lambda _: None)
    with pytest.raises(Failure, match=f"needs Clarion's extra `{extra}`$") as failed:
        find_outbox(outbox)
    assert failed.value.code is ExitCode.SETUP


@pytest.mark.parametrize("path", ["", "shop:handlers", "shop.live:handlers"])
def test_accepts_a_module_and_a_name(path: str) -> None:
    check_handlers(path)


@pytest.mark.parametrize(
    "path", ["shop", "shop:", ":handlers", "shop.py:handlers()", "a/b:c", "a..b:c"]
)
def test_refuses_another_form_before_anything_is_started(path: str) -> None:
    with pytest.raises(Failure, match="expected --handlers MODULE:NAME") as failure:
        check_handlers(path)
    assert failure.value.code is ExitCode.USAGE

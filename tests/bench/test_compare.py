"""Two checkouts take turns, and a slower one is named. The services are this checkout's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from clarion_bench import compare as module
from clarion_bench.checkout import Checkout
from clarion_bench.commands import app
from clarion_bench.compare import CompareOptions, Figures, compare
from clarion_bench.laboratory import Laboratory, laboratory

ROOT = str(Path(__file__).parents[2])


def test_real_services_are_measured_in_turns() -> None:
    announced: list[str] = []
    options = CompareOptions(
        old=Checkout(folder=Path(ROOT)),
        new=Checkout(),
        measurements=["publish", "handshake", "fanout", "targeted", "resume"],
        turns=1,
        connections=20,
        seconds=0.5,
        warmup_seconds=0.1,
    )
    with laboratory() as bench:
        results = list(compare(options, bench, announced.append))

    assert announced[:2] == ["publish: turn 1 of 1, old", "publish: turn 1 of 1, new"]
    assert [each.figure for each in results] == [
        "publish, 1 a request: CPU µs",
        "publish, 100 a request: CPU µs",
        "handshake: CPU µs",
        "idle socket: KB",
        "delivery, 20 events/s: CPU µs",
        "delivery, 20 events/s: p99 ms",
        "delivery, 200 events/s: CPU µs",
        "delivery, 200 events/s: p99 ms",
        "targeted, a burst: CPU µs",
        "targeted, a burst: µs between events",
        *[
            f"resume, {storm}: {figure}"
            for storm in ("a fresh gateway", "after a cut")
            for figure in ("CPU µs", "Redis CPU µs", "scripts a client", "s until all are back")
        ],
    ]
    assert all(len(each.old) == len(each.new) == 1 for each in results)


@pytest.mark.parametrize(("slowed", "code"), [("old", 0), ("new", 1), ("neither", 0)])
def test_the_exit_code_says_whether_something_got_slower(
    monkeypatch: pytest.MonkeyPatch, slowed: str, code: int
) -> None:
    order: list[str] = []

    def measured(checkout: Checkout, _: CompareOptions, __: Laboratory) -> Figures:
        side = "old" if checkout.folder is not None and checkout.python == "/bin/sh" else "new"
        order.append(side)
        return {"a figure": 2.0 if side == slowed else 1.0}

    monkeypatch.setattr(module, "MEASUREMENTS", {"publish": measured})
    arguments = ["compare", ROOT, ROOT, "--old-python", "/bin/sh", "--measure", "publish"]
    done = CliRunner().invoke(app, [*arguments, "--turns", "3"])

    assert done.exit_code == code, done.output
    assert order == ["old", "new", "new", "old", "old", "new"]
    assert "a figure" in done.output


def test_a_folder_that_is_no_checkout_ends_with_its_name(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["compare", str(tmp_path), ROOT])
    assert done.exit_code == 1
    assert "expected a checkout of Clarion" in done.output

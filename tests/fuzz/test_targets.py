"""A short walk through what `make fuzz` does for long: the corpus, and a few hundred mutations of it."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

import pytest
import structlog

from tests.fuzz.mutation import inputs
from tests.fuzz.target import CORPUS
from tests.fuzz.targets import TARGETS

_INPUTS = 300


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """What is refused is logged, a few hundred times."""
    with structlog.testing.capture_logs():
        yield


@pytest.mark.parametrize("name", TARGETS)
def test_only_documented_errors_leave(name: str) -> None:
    target = TARGETS[name]
    for data in islice(inputs(target.corpus(), seed=1), _INPUTS):
        try:
            target.run(data)
        except Exception as error:
            error.add_note(f"{name}: {data!r}")
            raise


def test_every_target_has_a_corpus() -> None:
    assert {folder.name for folder in CORPUS.iterdir()} == set(TARGETS)

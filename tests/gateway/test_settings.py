"""`clarion_gateway.settings`: a pod's settings, their limits, and the errors for mistakes."""

from __future__ import annotations

import os
from typing import Any

import pydantic
import pytest
from annotated_types import Ge, Gt, Le

from clarion_contract.bus.positions import ONE_CLOCK, SeveralClocks
from clarion_contract.service.settings import Expected, InvalidSettings, load, variable
from clarion_gateway.settings import GatewaySettings
from tests.conftest import SECRET
from tests.gateway.recorder import settings

FIELDS = GatewaySettings.model_fields
PATTERNS = [
    name
    for name, field in FIELDS.items()
    if any(getattr(each, "pattern", None) for each in field.metadata)
]
NUMBERS = [name for name, field in FIELDS.items() if field.annotation in {int, float}]


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("GATEWAY_", "CLARION_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("CLARION_JWT_SECRET", SECRET)


def problems(monkeypatch: pytest.MonkeyPatch, **environment: str) -> list[str]:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InvalidSettings) as raised:
        load(GatewaySettings)
    return raised.value.problems


def test_a_secret_is_all_that_a_gateway_must_be_told() -> None:
    assert load(GatewaySettings).port == 8000


@pytest.mark.parametrize("name", FIELDS)
def test_every_setting_is_described(name: str) -> None:
    assert FIELDS[name].description


@pytest.mark.parametrize("name", NUMBERS)
def test_every_number_is_bounded_on_both_sides(name: str) -> None:
    bounds = FIELDS[name].metadata
    assert any(isinstance(bound, Ge | Gt) for bound in bounds)
    assert any(isinstance(bound, Le) for bound in bounds)


@pytest.mark.parametrize("name", PATTERNS)
def test_every_pattern_is_told_in_words(name: str) -> None:
    assert any(isinstance(each, Expected) for each in FIELDS[name].metadata)


@pytest.mark.parametrize("name", [name for name in FIELDS if "second" in name or "byte" in name])
def test_units_stand_in_names(name: str) -> None:
    assert name.endswith(("_seconds", "_bytes", "_per_second"))


def test_every_setting_has_a_variable_of_its_own() -> None:
    variables = [variable(GatewaySettings, name) for name in FIELDS]
    assert len(set(variables)) == len(variables)
    assert all(name.startswith(("CLARION_", "GATEWAY_")) for name in variables)


def test_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, tuple[str, Any]] = {
        "GATEWAY_PORT": ("8123", 8123),
        "GATEWAY_ALLOW_ANONYMOUS": ("false", False),
        "GATEWAY_ALLOWED_ORIGINS": (
            "https://a.example.com, https://b.example.com",
            ("https://a.example.com", "https://b.example.com"),
        ),
        "GATEWAY_HANDLERS": ("app.realtime:handlers", "app.realtime:handlers"),
        "GATEWAY_MESSAGES_PER_SECOND": ("0.5", 0.5),
        "CLARION_NAMESPACE": ("shop", "shop"),
    }
    for name, (text, _) in values.items():
        monkeypatch.setenv(name, text)
    loaded = load(GatewaySettings)
    for name, (_, value) in values.items():
        assert getattr(loaded, name.partition("_")[2].lower()) == value


def test_a_json_list_of_origins_is_understood_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAY_ALLOWED_ORIGINS", '["https://a.example.com"]')
    assert load(GatewaySettings).allowed_origins == ("https://a.example.com",)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("GATEWAY_PORT", "70000", "65535, got '70000'"),
        ("GATEWAY_PORT", "tcp://10.0.0.1:8000", "enableServiceLinks: false"),
        ("GATEWAY_MAX_CONNECTIONS", "many", "got 'many'"),
        ("GATEWAY_MAX_UNSENT_BYTES", "1", "16384"),
        ("GATEWAY_HANDLERS", "app/live.py", "expected package.module:name, got 'app/live.py'"),
        (
            "GATEWAY_PATH_PREFIX",
            "live",
            "expected a path such as /realtime, or nothing, got 'live'",
        ),
        ("CLARION_NAMESPACE", "a b", "expected 1 to 64 of A-Z a-z 0-9 _ . -, got 'a b'"),
        ("GATEWAY_PING_INTERVAL_SECONDS", "0", "1, got '0'"),
        ("GATEWAY_ALLOWED_ORIGINS", "[nonsense", "GATEWAY_ALLOWED_ORIGINS"),
        ("CLARION_LOG_LEVEL", "loud", "got 'loud'"),
    ],
)
def test_a_mistake_names_its_variable_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, expected: str
) -> None:
    (problem,) = problems(monkeypatch, **{name: value})
    assert problem.startswith(f"{name}: ")
    assert expected in problem
    assert "\n" not in problem


def test_a_url_that_may_hold_a_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    (problem,) = problems(monkeypatch, GATEWAY_UPSTREAM_URL="ftp://user:secret@host")
    expected = "expected a URL that begins with http:// or https://"
    assert problem == f"GATEWAY_UPSTREAM_URL: {expected}"


def test_all_mistakes_are_told_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told = problems(monkeypatch, GATEWAY_PORT="x", GATEWAY_HANDLER_SECONDS="-1")
    assert [line.partition(":")[0] for line in told] == ["GATEWAY_PORT", "GATEWAY_HANDLER_SECONDS"]


def test_settings_are_frozen() -> None:
    with pytest.raises(pydantic.ValidationError):
        settings().port = 1


def test_positions_are_exact_but_on_a_cluster() -> None:
    """There, the uncertainty is as large as the lag between primaries and between clocks may be."""
    assert settings().positions == ONE_CLOCK
    clustered = settings(redis_url="redis+cluster://one,two", cluster_clock_seconds=0.5)
    assert clustered.positions == SeveralClocks(15_500_000)

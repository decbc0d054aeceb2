"""The publisher's settings are documented, limited, and consistent with one another."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from clarion_contract.service.settings import ContractSettings, variable
from clarion_publisher.settings import PublisherSettings
from tests.conftest import SECRET

OWN = sorted(set(PublisherSettings.model_fields) - set(ContractSettings.model_fields))


def test_variables_have_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {variable(PublisherSettings, name) for name in OWN} == {
        f"PUBLISHER_{name.upper()}" for name in OWN
    }
    monkeypatch.setenv("PUBLISHER_PORT", "1234")
    monkeypatch.setenv("PUBLISHER_ALLOWED_ORIGINS", "http://a, http://b")
    settings = PublisherSettings(jwt_secret=SECRET)
    assert settings.port == 1234
    assert settings.allowed_origins == ("http://a", "http://b")


@pytest.mark.parametrize("name", OWN)
def test_every_setting_is_described(name: str) -> None:
    assert PublisherSettings.model_fields[name].description


@pytest.mark.parametrize("name", OWN)
def test_every_number_has_a_range(name: str) -> None:
    field = PublisherSettings.model_fields[name]
    if field.annotation in {int, float}:
        bounds = {type(each).__name__ for each in field.metadata}
        assert bounds & {"Ge", "Gt"}
        assert "Le" in bounds


@pytest.mark.parametrize(
    ("smaller", "larger"),
    [
        ({"data_max_bytes": 2_000}, {"body_max_bytes": 1_999}),
        ({"body_max_bytes": 1 << 20}, {"bodies_max_bytes": (1 << 20) - 1}),
        ({"batch_max_events": 100}, {"max_pending": 99}),
    ],
)
def test_what_must_fit_into_another(smaller: dict[str, int], larger: dict[str, int]) -> None:
    (name,) = smaller
    with pytest.raises(ValidationError, match=f"PUBLISHER_{name.upper()} to be at most"):
        PublisherSettings(jwt_secret=SECRET, **smaller, **larger)


def test_settings_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        PublisherSettings(jwt_secret=SECRET).port = 1  # type: ignore[misc]

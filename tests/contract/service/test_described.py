"""Settings as an internal port shows them: all of them, and no secret."""

from __future__ import annotations

import msgspec
import pytest

from clarion_contract.service.described import HIDDEN, described
from clarion_contract.service.settings import variable
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings
from tests.conftest import SECRET


def shown(**settings: object) -> dict[str, dict[str, object]]:
    gateway = GatewaySettings(**{"jwt_secret": SECRET, **settings})  # type: ignore[arg-type]
    return dict(described("gateway", gateway)["settings"])  # type: ignore[call-overload]


@pytest.mark.parametrize("cls", [GatewaySettings, PublisherSettings])
def test_every_setting_is_there(cls: type[GatewaySettings | PublisherSettings]) -> None:
    answer = described("service", cls(jwt_secret=SECRET))  # type: ignore[arg-type]
    assert set(answer["settings"]) == {variable(cls, name) for name in cls.model_fields}  # type: ignore[call-overload]
    assert msgspec.json.encode(answer)


def test_no_secret_is_there() -> None:
    url = "redis+sentinel://user:hunter2@a:1,b:2/main?sentinel_password=hunter2&db=3"
    settings = shown(redis_url=url, jwt_secret="hunter2" * 8)
    assert "hunter2" not in str(settings)
    assert settings["CLARION_JWT_SECRET"]["value"] == HIDDEN
    hidden = f"redis+sentinel://{HIDDEN}@a:1,b:2/main?sentinel_password={HIDDEN}&db=3"
    assert settings["CLARION_REDIS_URL"]["value"] == hidden


def test_a_login_apart_from_the_url_is_not_there() -> None:
    settings = shown(redis_username="hunter2", redis_password="hunter2")
    assert "hunter2" not in str(settings)
    assert settings["CLARION_REDIS_PASSWORD"] == {"value": HIDDEN, "default": False}


def test_what_has_its_default() -> None:
    settings = shown(max_connections=7, allowed_origins=["https://a.example"])
    assert settings["GATEWAY_MAX_CONNECTIONS"] == {"value": 7, "default": False}
    assert settings["GATEWAY_ALLOWED_ORIGINS"]["value"] == ["https://a.example"]
    assert settings["GATEWAY_PORT"] == {"value": 8000, "default": True}
    assert settings["CLARION_POD"]["default"] is True
    assert settings["CLARION_JWT_JWKS_URL"] == {"value": None, "default": True}

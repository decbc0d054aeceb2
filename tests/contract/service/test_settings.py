"""Shared settings: read from the environment, limited, with clear errors."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from clarion_contract.bus.history_limits import HistoryLimits
from clarion_contract.service.secret_settings import holds_secret
from clarion_contract.service.settings import (
    ContractSettings,
    InvalidSettings,
    load,
    split_names,
    variable,
)
from tests.conftest import SECRET


class ServiceSettings(ContractSettings):
    """Settings derived as in a service."""

    model_config = SettingsConfigDict(env_prefix="SERVICE_")

    port: int = Field(1, ge=0, le=65_535)
    ratio: float = Field(1, gt=0, le=10)


@pytest.fixture
def env(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("CLARION_JWT_SECRET", SECRET)
    return monkeypatch


def lines() -> list[str]:
    with pytest.raises(InvalidSettings) as caught:
        load(ServiceSettings)
    assert str(caught.value).splitlines() == caught.value.problems
    return caught.value.problems


def test_defaults(env: pytest.MonkeyPatch) -> None:
    settings = load(ServiceSettings)
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.history == HistoryLimits(10_000, 600, 86_400)
    assert settings.keyspace.clock("all") == "clarion:clock"
    assert settings.pod


def test_the_environment_decides(env: pytest.MonkeyPatch) -> None:
    env.setenv("CLARION_NAMESPACE", "shop")
    env.setenv("CLARION_JWT_ALGORITHMS", "HS256, HS512")
    env.setenv("CLARION_HISTORY_MAX_EVENTS", "")
    env.setenv("SERVICE_PORT", "2")
    settings = load(ServiceSettings)
    assert (settings.namespace, settings.port) == ("shop", 2)
    assert settings.jwt_algorithms == ("HS256", "HS512")
    assert settings.history_max_events == 10_000


@pytest.mark.parametrize("name", list(ContractSettings.model_fields))
def test_every_setting_is_described_and_named(name: str) -> None:
    assert ContractSettings.model_fields[name].description
    assert variable(ServiceSettings, name) == f"CLARION_{name.upper()}"


def test_each_bad_variable_gets_one_line(env: pytest.MonkeyPatch) -> None:
    env.setenv("CLARION_NAMESPACE", "a b")
    env.setenv("CLARION_HISTORY_MAX_EVENTS", "0")
    env.setenv("CLARION_PROFILE", "production\nx")
    env.setenv("CLARION_JWT_ALGORITHMS", "[")
    env.setenv("SERVICE_PORT", "tcp://10.0.0.1:80")
    env.setenv("SERVICE_RATIO", "11")
    problems = lines()
    assert [line.partition(":")[0] for line in problems] == [
        "CLARION_NAMESPACE",
        "CLARION_HISTORY_MAX_EVENTS",
        "CLARION_JWT_ALGORITHMS",
        "CLARION_PROFILE",
        "SERVICE_PORT",
        "SERVICE_RATIO",
    ]
    assert problems[1].endswith("greater than or equal to 1, got '0'")
    assert "enableServiceLinks" in problems[4]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CLARION_JWT_SECRET", "hunter2"),
        ("CLARION_REDIS_URL", "redis://user:hunter2#1@host/0"),
        ("CLARION_REDIS_URL", "amqp://user:hunter2@host/0"),
        ("CLARION_JWT_JWKS_URL", "ftp://user:hunter2@host"),
    ],
)
def test_secrets_are_not_repeated(env: pytest.MonkeyPatch, name: str, value: str) -> None:
    env.setenv(name, value)
    (line,) = lines()
    assert line.startswith(name)
    assert "hunter2" not in line


IN_FILES = [name for name, field in ServiceSettings.model_fields.items() if holds_secret(field)]


def test_what_may_be_in_files() -> None:
    assert {"redis_url", "redis_username", "redis_password", "jwt_secret"} <= {*IN_FILES}
    assert not {"namespace", "port", "pod"} & {*IN_FILES}


@pytest.mark.parametrize("name", IN_FILES)
def test_every_secret_may_be_in_a_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str
) -> None:
    values = {"redis_url": "redis://cache", "jwt_jwks_url": "https://issuer/keys"}
    value = values.get(name, " a secret of more than 32 bytes: ÄÖÜ%#@/ ")
    if name not in ("jwt_secret", "jwt_jwks_url"):
        monkeypatch.setenv("CLARION_JWT_SECRET", SECRET)
    file = tmp_path / "secret"
    file.write_text(f"{value}\n")
    monkeypatch.setenv(f"{variable(ServiceSettings, name)}_FILE", str(file))
    monkeypatch.setenv(variable(ServiceSettings, name), "")  # empty: unset
    found = getattr(load(ServiceSettings), name)
    assert (found.get_secret_value() if isinstance(found, SecretStr) else found) == value


def test_bad_files_are_named_with_the_other_mistakes(
    env: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    env.setenv("CLARION_JWT_SECRET_FILE", "/run/secrets/jwt")
    env.setenv("CLARION_REDIS_URL_FILE", "hunter2")  # the secret itself
    env.setenv("CLARION_REDIS_PASSWORD_FILE", str(tmp_path))
    env.setenv("SERVICE_PORT", "-1")
    problems = lines()
    unread = "cannot read the file that"
    assert problems[:3] == [
        f"CLARION_REDIS_URL: {unread} CLARION_REDIS_URL_FILE names: No such file or directory",
        f"CLARION_REDIS_PASSWORD: {unread} CLARION_REDIS_PASSWORD_FILE names: Is a directory",
        "CLARION_JWT_SECRET: expected one of CLARION_JWT_SECRET and CLARION_JWT_SECRET_FILE, got both",
    ]
    assert problems[3].startswith("SERVICE_PORT")


def test_the_login_of_redis_apart_from_its_url(env: pytest.MonkeyPatch) -> None:
    env.setenv("CLARION_REDIS_URL", "rediss://user@cache/1")
    env.setenv("CLARION_REDIS_PASSWORD", "hunter2/")
    settings = load(ServiceSettings)
    assert settings.redis_address == "rediss://user:hunter2%2F@cache/1"
    assert "hunter2" not in repr(settings)
    env.setenv("CLARION_REDIS_USERNAME", "hunter2")
    (line,) = lines()
    assert line.endswith("got one in CLARION_REDIS_URL and one in CLARION_REDIS_USERNAME")
    env.setenv("CLARION_REDIS_USERNAME", "")
    env.setenv("CLARION_REDIS_URL", "rediss://user:hunter2@cache/1")
    assert "hunter2" not in repr(ServiceSettings(redis_password=None))
    (line,) = lines()
    assert line.endswith("got one in CLARION_REDIS_URL and one in CLARION_REDIS_PASSWORD")


def test_exactly_one_key_source(env: pytest.MonkeyPatch) -> None:
    env.setenv("CLARION_JWT_JWKS_URL", "https://issuer/jwks")
    (line,) = lines()
    assert line.startswith("expected exactly one of CLARION_JWT_SECRET, ")
    env.delenv("CLARION_JWT_SECRET")
    env.delenv("CLARION_JWT_JWKS_URL")
    assert len(lines()) == 1


def test_a_public_key_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    file.write_text("-----BEGIN PUBLIC KEY-----\n")
    monkeypatch.setenv("CLARION_JWT_PUBLIC_KEY", str(file))
    assert load(ServiceSettings).jwt_public_key == "-----BEGIN PUBLIC KEY-----\n"
    file.unlink()
    (line,) = lines()
    assert line.startswith("CLARION_JWT_PUBLIC_KEY: expected PEM or the path of a PEM file")


def test_secrets_are_not_shown(env: pytest.MonkeyPatch) -> None:
    assert SECRET not in repr(load(ServiceSettings))


@pytest.mark.parametrize("name", ["AUDIENCE", "ISSUER", "CLIENT_ID"])
def test_one_name_or_a_list_in_json(env: pytest.MonkeyPatch, name: str) -> None:
    """Earlier versions took `a,b` for one name, so a comma must not become a list in silence."""
    field = f"jwt_{name.lower()}"
    assert getattr(load(ServiceSettings), field) == ()
    for text, names in (("a", ("a",)), ('["a", "b"]', ("a", "b")), ('["a,b"]', ("a,b",))):
        env.setenv(f"CLARION_JWT_{name}", text)
        assert getattr(load(ServiceSettings), field) == names
    env.setenv(f"CLARION_JWT_{name}", "a,b")
    (line,) = lines()
    assert line.startswith(f"CLARION_JWT_{name}: expected one name, or a JSON list such as")


@pytest.mark.parametrize(
    ("value", "names"),
    [("a, b,,c ", ("a", "b", "c")), ('["a", "b"]', ["a", "b"]), ("", ()), (("a",), ("a",))],
)
def test_names(value: object, names: object) -> None:
    assert split_names(value) == names

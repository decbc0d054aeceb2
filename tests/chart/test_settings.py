"""Values become settings that the services have, and the chart can set every setting."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from clarion_contract.events.topic_rules import TopicRules
from clarion_contract.service.settings import ContractSettings, load, variable
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings
from deploy.helm.pages import ELSEWHERE, setting_schemas
from tests.chart.helm import Helm, Rendered
from tests.chart.test_schema import TRIAL

CLASSES: Mapping[str, type[ContractSettings]] = {
    "gateway": GatewaySettings,
    "publisher": PublisherSettings,
}
# Settings that come from the user's own Secrets, or from the example's handlers.
_OTHERS = {"CHAT_ROOM", "OTEL_EXPORTER_OTLP_HEADERS", "PYTHONPATH"}


@pytest.fixture(params=sorted(CLASSES))
def component(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in os.environ:
        if name.startswith(("CLARION_", "GATEWAY_", "PUBLISHER_")):
            monkeypatch.delenv(name)
    return monkeypatch


def variables(cls: type[ContractSettings]) -> set[str]:
    return {variable(cls, field) for field in cls.model_fields}


def names(rendered: Rendered, component: str) -> set[str]:
    """Every variable that a component's container is given."""
    given: set[str] = {entry["name"] for entry in rendered.container(component)["env"]}
    return given | set(rendered.the("ConfigMap", component)["data"])


def test_every_variable_is_a_setting(rendered: Rendered, component: str) -> None:
    """A renamed setting would be ignored without an error."""
    unknown = names(rendered, component) - variables(CLASSES[component]) - _OTHERS
    assert {name for name in unknown if not name.startswith("OTEL_")} == set()


def test_the_services_accept_what_the_examples_make(
    rendered: Rendered, component: str, clean_environment: pytest.MonkeyPatch
) -> None:
    environment = rendered.environment(component)
    given = names(rendered, component)
    for name, value in {
        "CLARION_REDIS_URL": "redis://the-users-own",
        "CLARION_JWT_SECRET": "in the user's own Secret, 32 bytes",
    }.items():
        if name in given:
            environment.setdefault(name, value)
    assert "CLARION_REDIS_URL" in environment
    for name, value in environment.items():
        clean_environment.setenv(name, value)
    load(CLASSES[component])


def test_every_setting_has_a_place(component: str) -> None:
    cls = CLASSES[component]
    assert setting_schemas(cls).keys() == variables(cls) - ELSEWHERE.keys()


def test_every_setting_arrives_as_it_was_given(
    helm: Helm, component: str, tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    """Each at its maximum: helm reads 17179869184 as 1.7179869184e+10, which Python refuses."""
    cls = CLASSES[component]
    extremes = {name: _extreme(name, schema) for name, schema in setting_schemas(cls).items()}
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({component: {"settings": extremes}}))
    memory = "publisher.resources.limits.memory=128Gi"  # for bodies at their maximum
    rendered = helm.render(*TRIAL, "--values", str(values), "--set", memory)
    for name, value in rendered.environment(component).items():
        clean_environment.setenv(name, value)
    loaded = load(cls)
    for field in cls.model_fields:
        if (name := variable(cls, field)) in extremes:
            got = json.loads(loaded.model_dump_json(include={field}))[field]
            assert got == extremes[name], name


def test_every_setting_of_its_own_place_arrives(helm: Helm, trial: Rendered) -> None:
    """Settings that the chart sets by values of their own."""
    jwks = helm.render("--set", "auth.jwksUrl=https://login/keys,redis.url=redis://r")
    pem = helm.render("--set", "auth.publicKey=-----BEGIN,redis.url=redis://r")
    handlers = helm.render(*TRIAL, "--set", "gateway.handlers.name=chat:handlers")
    cost = helm.render(*TRIAL, "--set", "gateway.podDeletionCost.enabled=true")
    secret = "redis.login.existingSecret"
    login = helm.render(
        "--set", "auth.jwksUrl=https://login/keys,redis.url=redis://r",
        "--set", f"{secret}.name=own,{secret}.usernameKey=user",
    )  # fmt: skip
    outbox = helm.render(
        *TRIAL,
        "--set", "publisher.outbox.url=postgresql://db/shop",
        "--set", "publisher.outbox.login.existingSecret.name=own",
        "--set", "publisher.outbox.login.existingSecret.usernameKey=user",
    )  # fmt: skip
    rules = helm.render(*TRIAL, "--set", "topicRules[0].pattern=cursor.**")
    declared = helm.render(*TRIAL, "--set", "catalogue.existingConfigMap=events")
    upstream = helm.render(
        *TRIAL,
        "--set", "gateway.upstream.url=http://shop/clarion",
        "--set", "gateway.upstream.existingSecret.name=shop",
    )  # fmt: skip
    socketio = helm.render(*TRIAL, "--set", "publisher.socketio.url=redis://emitters")
    examples = (
        trial, jwks, pem, handlers, cost, login, outbox, socketio, rules, declared, upstream,
    )  # fmt: skip
    reached = {name for one in examples for each in CLASSES for name in names(one, each)}
    assert ELSEWHERE.keys() <= reached


def test_rules_for_topics_arrive_in_both_services(
    helm: Helm, tmp_path: Path, clean_environment: pytest.MonkeyPatch
) -> None:
    topics = [
        {"pattern": "cursor.**", "history": False},
        {"pattern": "price.*", "history": {"max_events": 1_000_000, "max_age_seconds": 30}},
    ]
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"topicRules": topics}))
    rendered = helm.render(*TRIAL, "--values", str(values))
    for component, cls in CLASSES.items():
        clean_environment.setenv("CLARION_JWT_SECRET", "in the user's own Secret, 32 bytes")
        for name, value in rendered.environment(component).items():
            clean_environment.setenv(name, value)
        assert load(cls).rules == TopicRules.model_validate({"topics": topics})


@pytest.mark.parametrize(
    "rule",
    [
        {},
        {"pattern": "a", "histroy": False},
        {"pattern": "a", "history": True},
        {"pattern": "a", "history": {"max_events": 0}},
    ],
)
def test_the_schema_refuses_what_is_no_rule_for_topics(
    helm: Helm, tmp_path: Path, rule: dict[str, Any]
) -> None:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({"topicRules": [rule]}))
    assert "topicRules" in helm.refusal(*TRIAL, "--values", str(values))


def test_shared_settings_yield_to_a_components_own(helm: Helm) -> None:
    rendered = helm.render(
        *TRIAL,
        "--set", "settings.CLARION_LOG_LEVEL=warning",
        "--set", "publisher.settings.CLARION_LOG_LEVEL=debug",
    )  # fmt: skip
    levels = {one: rendered.environment(one)["CLARION_LOG_LEVEL"] for one in CLASSES}
    assert levels == {"gateway": "warning", "publisher": "debug"}


def test_a_components_own_auth_replaces_the_shared_one(helm: Helm) -> None:
    rendered = helm.render(*TRIAL, "--set", "publisher.auth.jwksUrl=https://login/keys")
    assert "CLARION_JWT_SECRET" in rendered.environment("gateway")
    publisher = names(rendered, "publisher")
    assert "CLARION_JWT_JWKS_URL" in publisher
    assert "CLARION_JWT_SECRET" not in publisher


def test_secrets_stand_in_secrets_alone(rendered: Rendered) -> None:
    for config in rendered.all("ConfigMap"):
        secrets = {"CLARION_REDIS_URL", "CLARION_JWT_SECRET", "OTEL_EXPORTER_OTLP_HEADERS"}
        assert not secrets & config["data"].keys()


def _extreme(name: str, schema: Mapping[str, Any]) -> Any:
    if name == "CLARION_NAMESPACE":
        return "n" * 64
    if "enum" in schema:
        return schema["enum"][-1]
    if "maximum" in schema:
        return schema["maximum"] - name.endswith("_INTERNAL_PORT")  # two ports cannot be the same
    match schema["type"]:
        case "boolean":
            return not schema["default"]
        case ["array", "string"] if name == "GATEWAY_TRUSTED_PROXIES":
            return ["192.0.2.0/24", "2001:db8::/32"]
        case ["array", "string"] if name == "GATEWAY_UPSTREAM_HOOKS":
            return ["connect", "disconnect"]
        case ["array", "string"] if name == "GATEWAY_UPSTREAM_TOPICS":
            return ["room.*", "order.**"]
        case ["array", "string"] if name == "PUBLISHER_CLOUDEVENTS_AUDIENCES":
            return ["order.*=user:{subject}", "news.**=all"]
        case ["array", "string"]:
            return ["https://a.example.com", "https://b.example.com"]
        case _:
            return schema.get("default", "text")

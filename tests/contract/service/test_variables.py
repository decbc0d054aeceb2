"""Misspelt settings, and what looks like one but is not."""

from __future__ import annotations

import pytest

from clarion_contract.service.settings import variable
from clarion_contract.service.variables import Misspelt, misspelt, variables
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings


def found(**environment: str) -> list[Misspelt]:
    return misspelt(environment, [GatewaySettings])


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("GATEWAY_MAX_CONECTIONS", "GATEWAY_MAX_CONNECTIONS"),
        ("GATEWAY_ALLOWED_ORIGIN", "GATEWAY_ALLOWED_ORIGINS"),
        ("CLARION_REDIS_ULR", "CLARION_REDIS_URL"),
        ("GATEWAY_REDIS_URL", "CLARION_REDIS_URL"),  # the other prefix
        ("CLARION_PORT", "GATEWAY_PORT"),
        ("GATEWY_PORT", "GATEWAY_PORT"),  # the prefix is misspelt
        ("CLARIN_REDIS_URL", "CLARION_REDIS_URL"),
        ("GATEWAYS_MAX_CONNECTIONS", "GATEWAY_MAX_CONNECTIONS"),
        ("gateway_max_conections", "GATEWAY_MAX_CONNECTIONS"),
        ("GATEWAY_COLOUR_OF_THE_SKY", None),
        ("CLARION_JWT_SECRETS_FILE", "CLARION_JWT_SECRET_FILE"),
        ("GATEWAY_PORT_FILE", "GATEWAY_PORT"),  # no secret, so no file
    ],
)
def test_misspelt(name: str, nearest: str | None) -> None:
    assert found(**{name: "1"}) == [Misspelt(name, nearest)]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GATEWAY_PORT", "8000"),
        ("gateway_port", "8000"),  # read by pydantic in any case
        ("CLARION_REDIS_URL", "redis://a"),
        ("CLARION_JWT_SECRET_FILE", "/run/secrets/jwt"),
        ("CLARION_STATE", "/tmp/state"),
        ("PUBLISHER_PORT", "8080"),  # one file of variables for both services
        ("PUBLISHER_PROT", "8080"),
        ("BROADWAY_PORT", "1"),
        ("PATH", "/bin"),
        ("CLARION", "/opt/clarion"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://a"),
        # A Service called gateway, one called clarion, and the chart's own.
        ("GATEWAY_PORT_8080_TCP", "tcp://10.0.0.1:8080"),
        ("GATEWAY_PORT_8080_TCP_ADDR", "10.0.0.1"),
        ("GATEWAY_PORT_8080_TCP_PROTO", "tcp"),
        ("GATEWAY_SERVICE_HOST", "10.0.0.1"),
        ("GATEWAY_SERVICE_PORT", "80"),
        ("GATEWAY_SERVICE_PORT_HTTP", "80"),
        ("CLARION_PORT", "tcp://10.0.0.1:80"),
        ("CLARION_SERVICE_HOST", "10.0.0.1"),
        ("CLARION_GATEWAY_PORT", "tcp://10.0.0.1:80"),
        ("CLARION_GATEWAY_INTERNAL_PORT_9090_TCP_PORT", "9090"),
        ("CLARION_VALKEY_SERVICE_PORT_REDIS", "6379"),
        ("CLARION_DNS_PORT_53_UDP", "udp://10.0.0.1:53"),
    ],
)
def test_not_misspelt(name: str, value: str) -> None:
    assert found(**{name: value}) == []


@pytest.mark.parametrize("cls", [GatewaySettings, PublisherSettings])
def test_every_setting_is_known(cls: type[GatewaySettings | PublisherSettings]) -> None:
    names = [variable(cls, field) for field in cls.model_fields]
    assert set(names) <= set(variables(cls))
    assert misspelt(dict.fromkeys(names, "1"), [cls]) == []

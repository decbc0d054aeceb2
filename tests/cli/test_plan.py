"""The parts of a local stack, and the checks before any of them is started."""

from __future__ import annotations

import socket

import pytest

from clarion_cli.failure import ExitCode, Failure
from clarion_cli.plan import Plan, check_ports
from clarion_cli.state import Addresses
from tests.cli.clarion import SECRET
from tests.e2e.ports import free_port, free_ports


def make_plan(**changes: object) -> Plan:
    values: dict[str, object] = {
        "secret": SECRET, "gateways": 2, "gateway_port": 18_001, "gateway_internal_port": 19_001,
        "publisher_port": 18_080, "publisher_internal_port": 19_080, "redis_url": None,
        "handlers": "clarion_examples.chat.handlers:handlers", "pretty": False,
    }  # fmt: skip
    return Plan(**{**values, **changes})  # type: ignore[arg-type]


def free_ports_of_all() -> dict[str, object]:
    """Ports for every service: something else may use the usual ones on this machine."""
    first = free_ports(6)
    return {
        "gateway_port": first, "gateway_internal_port": first + 2,
        "publisher_port": first + 4, "publisher_internal_port": first + 5,
    }  # fmt: skip


def test_the_ports_of_further_gateways_follow_the_first_ones() -> None:
    assert make_plan(gateways=3).addresses == Addresses(
        gateways=("http://127.0.0.1:18001", "http://127.0.0.1:18002", "http://127.0.0.1:18003"),
        publisher="http://127.0.0.1:18080",
    )


def test_addresses_below_a_prefix() -> None:
    """With the slash, `clarion tail` takes them as the place of a gateway and not of its socket."""
    plan = make_plan(gateways=1, gateway_path_prefix="/realtime", publisher_path_prefix="/push")
    assert plan.addresses == Addresses(
        gateways=("http://127.0.0.1:18001/realtime/",), publisher="http://127.0.0.1:18080/push"
    )
    assert plan.gateway(0, "r", {}).environment["GATEWAY_PATH_PREFIX"] == "/realtime"
    assert plan.publisher("r", {}).environment["PUBLISHER_PATH_PREFIX"] == "/push"


def test_every_process_listens_on_this_machine_only() -> None:
    plan = make_plan()
    gateway = plan.gateway(1, "redis://r", {}).environment
    publisher = plan.publisher("redis://r", {}).environment
    hosts = {value for key, value in {**gateway, **publisher}.items() if key.endswith("_HOST")}
    assert hosts == {"127.0.0.1"}
    assert gateway["GATEWAY_PORT"] == "18002"
    assert gateway["GATEWAY_INTERNAL_PORT"] == "19002"
    assert gateway["CLARION_POD"] == "gateway-2"


@pytest.mark.parametrize("inherited", ["https://a.test", '["https://a.test"]'])
def test_origins_are_added_to_those_of_the_shell(inherited: str) -> None:
    shell = {"GATEWAY_ALLOWED_ORIGINS": inherited}
    plan = make_plan(allowed_origins=("https://b.test", "null"))
    allowed = plan.gateway(0, "r", shell).environment["GATEWAY_ALLOWED_ORIGINS"]
    assert allowed == "https://a.test,https://b.test,null"
    assert make_plan().gateway(0, "r", shell).environment["GATEWAY_ALLOWED_ORIGINS"] == inherited


def test_what_the_stack_has_read_is_not_read_again() -> None:
    """A service takes a secret from one place only."""
    inherited = {
        f"CLARION_{name}{end}": "/run/secrets/it"
        for name in ("JWT_SECRET", "REDIS_URL", "REDIS_USERNAME", "REDIS_PASSWORD")
        for end in ("", "_FILE")
    }
    environment = make_plan().gateway(0, "redis://r", inherited).environment
    both = inherited.keys() & environment.keys()
    assert both == {"CLARION_JWT_SECRET", "CLARION_REDIS_URL"}
    assert environment["CLARION_REDIS_URL"] == "redis://r"


def test_no_other_key_stands_beside_the_local_secret() -> None:
    """The services accept exactly one key source, and the shell may name another one."""
    inherited = {"CLARION_JWT_JWKS_URL": "https://issuer", "CLARION_JWT_PUBLIC_KEY": "key.pem"}
    environment = make_plan().publisher("redis://r", inherited).environment
    assert environment["CLARION_JWT_SECRET"] == SECRET
    assert not inherited.keys() & environment.keys()


def test_what_the_shell_says_of_draining_stands() -> None:
    environment = make_plan().gateway(0, "r", {"GATEWAY_DRAIN_SPREAD_SECONDS": "9"}).environment
    assert environment["GATEWAY_DRAIN_SPREAD_SECONDS"] == "9"


def test_a_taken_port_is_named_with_the_option_that_moves_it() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        plan = make_plan(**{**free_ports_of_all(), "gateways": 1, "gateway_port": port})
        with pytest.raises(
            Failure, match=rf"port {port} for gateway-1: .*in use.*--gateway-port"
        ) as failure:
            check_ports(plan)
        assert failure.value.code is ExitCode.SETUP


def test_a_port_is_not_given_out_twice() -> None:
    port = free_port()
    plan = make_plan(**{**free_ports_of_all(), "publisher_port": port, "gateway_port": port})
    with pytest.raises(Failure, match=f"port {port} is wanted twice: by publisher and by"):
        check_ports(plan)


def test_a_port_beyond_the_last_does_not_exist() -> None:
    with pytest.raises(Failure, match=r"port 65536 for gateway-2: it does not exist"):
        check_ports(make_plan(**{**free_ports_of_all(), "gateway_port": 65_535}))

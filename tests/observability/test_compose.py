"""compose.yaml is valid, the files and settings in it exist, and its load balancer works."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import redis

from clarion_contract.service.settings import ContractSettings, load, variable
from clarion_gateway.settings import GatewaySettings
from clarion_publisher.settings import PublisherSettings
from tests.e2e.client import opened, streamed
from tests.e2e.ports import free_ports
from tests.e2e.stack import Stack, make_stack
from tests.observability.files import ROOT, SCRAPE, Fields, load_yaml
from tests.valkey import Valkey

COMPOSE = ROOT / "compose.yaml"
NGINX = ROOT / "deploy/compose/nginx.conf"
SERVICES: dict[str, Fields] = load_yaml(COMPOSE)["services"]
ENV_FILES = {path.stem: path for path in sorted((ROOT / "deploy/compose").glob("*.env"))}
PROFILES = {"observability": {"prometheus", "grafana", "jaeger"}, "database": {"postgres"}}
OURS: dict[str, type[ContractSettings]] = {
    "publisher": PublisherSettings,
    "gateway-1": GatewaySettings,
    "gateway-2": GatewaySettings,
}


def of_env_file(name: str) -> dict[str, str]:
    """The variables of an env file; none has no name."""
    if not name:
        return {}
    lines = ENV_FILES[name].read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def interpolated(text: str, variables: Mapping[str, str]) -> str:
    """The text with values in the place of ``${NAME:-default}``."""
    return re.sub(r"\$\{(\w+):-([^}]*)\}", lambda found: variables.get(found[1], found[2]), text)


def compose_command() -> list[str] | None:
    """The command ``docker compose``, as a plugin or as a program of its own."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = subprocess.run(
                [*command, "version"],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=600,
                check=False,
            )
            if asked.returncode == 0:
                return command
    return None


@pytest.mark.parametrize("chosen", ["", *ENV_FILES])
def test_compose_finds_it_valid(chosen: str) -> None:
    command = compose_command()
    if command is None:
        pytest.skip("compose is not here; on Debian and Ubuntu: apt-get install docker-compose")
    options = ["--env-file", str(ENV_FILES[chosen])] if chosen else []
    completed = subprocess.run(
        [*command, "--file", str(COMPOSE), *options, "config", "--quiet"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=600,
        check=False,
    )
    assert completed.returncode == 0, completed.stderr.decode()
    assert completed.stderr == b""  # no warnings either


def test_images_are_pinned_and_name_no_registry() -> None:
    for name, service in SERVICES.items():
        image, _, tag = service["image"].partition(":")
        assert re.search(r"\d", tag) or service["image"] == "clarion:local", name
        assert "." not in image, name


def test_everything_mounted_is_in_the_repository() -> None:
    for service in SERVICES.values():
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("."):
                assert (ROOT / source).exists(), volume
            else:
                assert source in load_yaml(COMPOSE)["volumes"], volume


def test_nothing_listens_beyond_this_machine() -> None:
    for service in SERVICES.values():
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:"), port


def test_every_port_of_this_machine_is_a_variable_and_no_two_are_the_same() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(ports) == 7
    forms = [re.fullmatch(r"127\.0\.0\.1:\$\{(PORT_[A-Z]+):-(\d+)\}:\d+", port) for port in ports]
    named = [form and form.groups() for form in forms]
    assert None not in named, ports
    assert len(set(named)) == len({form[2] for form in forms if form}) == len(ports)
    said = COMPOSE.read_text().partition("x-clarion")[0]
    for form in forms:
        assert form
        assert re.search(rf"{form[1]} +(http://)?127\.0\.0\.1:{form[2]}\b", said), form[1]


def test_pages_find_each_other_at_other_ports() -> None:
    other = {"PORT_GATEWAY": "18000", "PORT_PUBLISHER": "18080"}
    gateway = interpolated(SERVICES["gateway-1"]["environment"]["GATEWAY_DEV_PUBLISHER_URL"], other)
    assert gateway == "http://127.0.0.1:18080"
    origins = SERVICES["publisher"]["environment"]["PUBLISHER_ALLOWED_ORIGINS"]
    assert interpolated(origins, other) == "http://127.0.0.1:18000,http://localhost:18000"


def test_what_one_watches_with_and_the_database_have_profiles() -> None:
    for profile, names in PROFILES.items():
        assert {n for n, fields in SERVICES.items() if fields.get("profiles") == [profile]} == names
    behind = set.union(*PROFILES.values())
    for name in SERVICES.keys() - behind:
        assert not behind & set(SERVICES[name].get("depends_on", {})), name


def test_env_files_choose_profiles_and_tell_our_services() -> None:
    assert of_env_file("all").pop("COMPOSE_PROFILES") == "observability,database"
    assert set(ENV_FILES) == {"all", *PROFILES}
    text = COMPOSE.read_text()
    for name, path in ENV_FILES.items():
        for variable_name, value in of_env_file(name).items():
            assert variable_name == "COMPOSE_PROFILES" or f"${{{variable_name}:-}}" in text
            assert of_env_file("all")[variable_name] == value or variable_name == "COMPOSE_PROFILES"
        assert f"--env-file {path.relative_to(ROOT)}" in text


@pytest.mark.parametrize("chosen", ["", "all"])
@pytest.mark.parametrize("name", OURS)
def test_our_settings_exist_and_are_accepted(
    name: str, chosen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = OURS[name]
    known = {variable(settings, field) for field in settings.model_fields}
    for key, value in SERVICES[name]["environment"].items():
        assert key in known or key.startswith("OTEL_"), key
        monkeypatch.setenv(key, interpolated(value, of_env_file(chosen)))
    loaded = load(settings)
    assert loaded.pod == name
    if isinstance(loaded, PublisherSettings):
        assert bool(loaded.outbox_address) == (chosen == "all")


@pytest.mark.parametrize("name", OURS)
def test_compose_waits_for_the_whole_drain(name: str) -> None:
    service = SERVICES[name]
    drain = sum(float(value) for key, value in service["environment"].items() if "_DRAIN_" in key)
    assert float(service["stop_grace_period"].removesuffix("s")) > drain


def test_prometheus_scrapes_what_runs() -> None:
    for job in load_yaml(SCRAPE)["scrape_configs"]:
        for static in job["static_configs"]:
            (target,) = static["targets"]
            assert target == f"{static['labels']['pod']}:9090"
            assert target.partition(":")[0] in OURS


def test_our_images_start_as_told_and_turn_healthy(tmp_path: Path) -> None:
    """Each runs with its command, environment and health check, by the image's entry point."""
    with valkey_as_told(tmp_path) as valkey:
        for name in OURS:
            ports = free_ports(2)
            process = subprocess.Popen(
                [*_entrypoint(), *SERVICES[name]["command"]],
                env=_environment(name, valkey, ports),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                check = _here(SERVICES[name]["healthcheck"]["test"], "9090", str(ports + 1))
                _healthy(check, name)
                process.terminate()
                stop_seconds = float(SERVICES[name]["stop_grace_period"].removesuffix("s"))
                assert process.wait(stop_seconds) == 0, name
            finally:
                process.kill()
                process.wait()


@contextmanager
def valkey_as_told(folder: Path) -> Iterator[Valkey]:
    """Redis with the command line of compose.yaml, which keeps data over a restart."""
    program, *options = SERVICES["redis"]["command"]
    assert program == "valkey-server"
    valkey = Valkey(folder, options=options)
    valkey.start()
    try:
        with redis.Redis(port=valkey.port) as client:
            assert client.config_get("appendonly") == {"appendonly": "yes"}
        yield valkey
    finally:
        valkey.kill()


def _entrypoint() -> list[str]:
    """The image's entry point, with this Python."""
    found = re.search(r"^ENTRYPOINT (.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found
    return _here(json.loads(found[1]), "python", sys.executable)


def _here(command: list[str], name: str, replacement: str) -> list[str]:
    return [part.replace(name, replacement) for part in command]


def _environment(name: str, valkey: Valkey, ports: int) -> dict[str, str]:
    """The environment in compose.yaml, with addresses of this machine."""
    given = {key: interpolated(value, {}) for key, value in SERVICES[name]["environment"].items()}
    assert given["CLARION_REDIS_URL"] == "redis://redis:6379/0"
    prefix = "GATEWAY" if name.startswith("gateway") else "PUBLISHER"
    return {
        **given,
        "PATH": os.environ["PATH"],
        "CLARION_REDIS_URL": valkey.url,
        f"{prefix}_HOST": "127.0.0.1",
        f"{prefix}_PORT": str(ports),
        f"{prefix}_INTERNAL_PORT": str(ports + 1),
    }


def _healthy(check: list[str], name: str) -> None:
    """Run the health check as Docker does: the program of ``CMD``, until it ends with 0."""
    kind, *command = check
    assert kind == "CMD", name
    assert command[0] == "python"
    deadline = time.monotonic() + 60
    while subprocess.run(
        [sys.executable, *command[1:]],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        timeout=60,
        check=False,
    ).returncode:
        assert time.monotonic() < deadline, f"{name} does not turn healthy"
        time.sleep(0.1)


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not here")
def test_prometheus_takes_its_configuration(tmp_path: Path) -> None:
    """With every rule file where compose.yaml mounts it. `test_prometheus.py` runs Prometheus."""
    mounts = dict(volume.split(":")[:2] for volume in SERVICES["prometheus"]["volumes"])
    given = [part for part in SERVICES["prometheus"]["command"] if "config.file" in part]
    assert given == [f"--config.file={mounts['./deploy/prometheus/prometheus.yml']}"]
    (pattern,) = load_yaml(SCRAPE)["rule_files"]
    mounted = mounts["./deploy/helm/clarion/alerts"]
    assert pattern == f"{mounted}/*.yaml"
    config = tmp_path / "prometheus.yml"
    config.write_text(SCRAPE.read_text().replace(mounted, str(ROOT / "deploy/helm/clarion/alerts")))
    checked = subprocess.run(
        ["promtool", "check", "config", str(config)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "1 rule files found" in checked.stdout


def test_grafana_finds_dashboards_and_sources_where_they_are_mounted() -> None:
    grafana = SERVICES["grafana"]
    mounts = {volume.split(":")[1]: volume.split(":")[0] for volume in grafana["volumes"]}
    provisioned = {
        kind: load_yaml(next((ROOT / mounts[f"/etc/grafana/provisioning/{kind}"]).glob("*.yaml")))
        for kind in ("dashboards", "datasources")
    }
    assert {kind: fields["apiVersion"] for kind, fields in provisioned.items()} == {
        "dashboards": 1,
        "datasources": 1,
    }
    (provider,) = provisioned["dashboards"]["providers"]
    dashboards = ROOT / mounts[provider["options"]["path"]]
    home = Path(grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"])
    assert str(home.parent) == provider["options"]["path"]
    assert (dashboards / home.name).is_file()
    for source in provisioned["datasources"]["datasources"]:
        host = source["url"].removeprefix("http://").partition(":")[0]
        assert host in SERVICES, source
        assert source["type"] in {"prometheus", "jaeger"}


@contextmanager
def load_balanced(stack: Stack, folder: Path) -> Iterator[str]:
    """Run the shipped nginx.conf in front of a stack; yields its address."""
    port = free_ports(1)
    text = NGINX.read_text().replace("listen 8000;", f"listen 127.0.0.1:{port};")
    for gateway in stack.gateways:
        address = gateway.url.removeprefix("http://")
        text = text.replace(f"server {gateway.program.name}:8000;", f"server {address};")
    config = folder / "nginx.conf"
    config.write_text(
        f"daemon off;\npid {folder}/nginx.pid;\nerror_log {folder}/error.log;\n{text}"
    )
    process = subprocess.Popen(
        ["nginx", "-p", str(folder), "-c", str(config)],
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)
                break
            except httpx.HTTPError:
                assert process.poll() is None, (folder / "error.log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(60)


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not here")
async def test_clients_get_through_the_load_balancer(
    shared_valkey: Valkey, tmp_path: Path, namespace: str
) -> None:
    """A WebSocket and an event stream, spread over both gateways, event by event."""
    stack = make_stack(tmp_path, shared_valkey.url, namespace)
    with stack.running(), load_balanced(stack, tmp_path) as url:
        async with opened(url) as first, opened(url) as second, streamed(url) as stream:
            assert {first.welcome["pod"], second.welcome["pod"]} == {"gateway-1", "gateway-2"}
            sent = await stack.publish("all", "hello")
            for client in (first, second):
                assert (await client.receive())["id"] == sent
            assert (await stream.events_until("hello"))[-1]["id"] == sent

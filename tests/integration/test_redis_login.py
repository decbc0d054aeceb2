"""Both services as processes, with Redis' login and their secrets in files."""

from __future__ import annotations

from pathlib import Path

import httpx
import pytest
import redis

from tests.conftest import SECRET
from tests.integration.pod import token
from tests.processes import SECONDS, Process, running
from tests.valkey import Valkey

PASSWORD = "rEdIs/p4ss@w0rd#1"
BAD_SETTINGS = 2
SERVICES = ("gateway", "publisher")
EVENT = {"audience": "all", "type": "tick", "data": 1}


@pytest.fixture(params=["requirepass", "ACL user"])
def login(request: pytest.FixtureRequest, valkey: Valkey, tmp_path: Path) -> dict[str, str]:
    """The login of a server that lets nobody else in, in files."""
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "username").write_text("clarion\n")
    variables = {"CLARION_REDIS_PASSWORD_FILE": str(tmp_path / "password")}
    with redis.Redis(port=valkey.port) as admin:
        if request.param == "requirepass":
            admin.config_set("requirepass", PASSWORD)
        else:
            variables["CLARION_REDIS_USERNAME_FILE"] = str(tmp_path / "username")
            admin.execute_command(
                "ACL", "SETUSER", "clarion", "on", f">{PASSWORD}", "~*", "&*", "+@all"
            )
            admin.execute_command("ACL", "SETUSER", "default", "off")
    return variables


def parts(secret: str) -> list[str]:
    """A secret, and the parts that a wrong reading of a URL would leave."""
    return [secret, "rEdIs", "p4ss", "w0rd"]


def test_services_run_with_secrets_in_files(
    valkey: Valkey, login: dict[str, str], tmp_path: Path
) -> None:
    jwt, url = tmp_path / "jwt", tmp_path / "url"
    jwt.write_text(f"{SECRET}\n")
    url.write_text(f"{valkey.url}\n")
    files = {
        "CLARION_JWT_SECRET": "",
        "CLARION_JWT_SECRET_FILE": str(jwt),
        "CLARION_REDIS_URL_FILE": str(url),
        "CLARION_LOG_LEVEL": "debug",
        **login,
    }
    with (
        running("gateway", tmp_path, "", **files) as gateway,
        running("publisher", tmp_path, "", **files) as publisher,
    ):
        answer = httpx.post(
            f"{publisher.url}/v1/events",
            json=EVENT,
            headers={"Authorization": f"Bearer {token('shop', scope='publish:all')}"},
            trust_env=False,
            timeout=SECONDS,
        )
        assert answer.status_code == 201, answer.text
        for service in (gateway, publisher):
            shown = service.internal("/settings").text + service.ready().text
            assert not any(part in shown for part in parts(PASSWORD))
        assert (gateway.stop(), publisher.stop()) == (0, 0)
    for service in SERVICES:
        log = (tmp_path / f"{service}.log").read_text()
        assert not any(part in log for part in (*parts(PASSWORD), SECRET)), log
        assert "has no effect" not in log


@pytest.mark.parametrize("service", SERVICES)
def test_a_wrong_password_is_told_and_not_shown(
    valkey: Valkey, login: dict[str, str], tmp_path: Path, service: str
) -> None:
    Path(login["CLARION_REDIS_PASSWORD_FILE"]).write_text("hunter2")
    with Process(service, tmp_path / "log", valkey.url, **login) as process:
        process.wait_until_it_listens()
        assert not process.ready().is_success
        assert process.stop() == 0
    log = (tmp_path / "log").read_text()
    assert "hunter2" not in log
    assert "WRONGPASS" in log or "invalid username-password" in log


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{PASSWORD}@127.0.0.1:1/0",
        "redis://clarion:12/p4ss@127.0.0.1:1/0",
        "redis+sentinel://clarion:12/p4ss@127.0.0.1:1",
        "redis://:[p4ss]@127.0.0.1:1",
        "redis://:rEdIs?p4ss=w0rd@127.0.0.1:1",
        "unix://clarion:rEdIs/p4ss@/run/redis.sock",
    ],
)
def test_no_part_of_a_password_in_a_wrong_url_is_shown(
    tmp_path: Path, service: str, url: str
) -> None:
    (tmp_path / "url").write_text(url)
    of_file = {"CLARION_REDIS_URL_FILE": str(tmp_path / "url")}
    for given, more in ((url, {}), ("", of_file)):
        with Process(service, tmp_path / "log", given, **more) as process:
            assert process.end() == BAD_SETTINGS
        log = (tmp_path / "log").read_text()
        assert log.startswith(f"{service}: CLARION_REDIS_URL: ")
        assert log.count("\n") == 1
        assert not any(part in log for part in parts(PASSWORD)), log


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        (
            {"CLARION_REDIS_PASSWORD_FILE": "/no/such/file"},
            "CLARION_REDIS_PASSWORD: cannot read the file that CLARION_REDIS_PASSWORD_FILE names",
        ),
        (
            {"CLARION_JWT_SECRET_FILE": "/no/such/file"},
            "expected one of CLARION_JWT_SECRET and CLARION_JWT_SECRET_FILE, got both",
        ),
        (
            {"CLARION_REDIS_PASSWORD": "p4ss"},
            "got one in CLARION_REDIS_URL and one in CLARION_REDIS_PASSWORD",
        ),
    ],
)
def test_secrets_that_do_not_fit_end_the_start(
    tmp_path: Path, service: str, settings: dict[str, str], problem: str
) -> None:
    url = "redis://:p4ss@127.0.0.1:1"
    with Process(service, tmp_path / "log", url, **settings) as process:
        assert process.end() == BAD_SETTINGS
    log = (tmp_path / "log").read_text()
    assert problem in log
    assert "p4ss" not in log

"""`clarion check`: everything that is wrong is found at once, against a real Redis and issuer."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import redis
from cryptography.hazmat.primitives.asymmetric import ec

from clarion_cli.checks.redis import describe, judge
from clarion_cli.failure import ExitCode
from tests.cli.clarion import ROOT, Clarion, environment
from tests.contract.identity.issuer import jwk, serving
from tests.e2e.ports import free_port
from tests.redis_topologies import cluster
from tests.valkey import Valkey

SECRET = "0123456789abcdefghijklmnopqrstuvwxyz"
SCRIPTS = ROOT / "contract" / "clarion_contract" / "bus"


def checked(
    clarion: Clarion, *arguments: str, code: ExitCode = ExitCode.DONE, **environment: str
) -> list[dict[str, Any]]:
    """The findings of a run that must end with that code."""
    result = clarion.run("check", *arguments, **environment)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert (result.returncode, result.stderr) == (code, ""), result
    *findings, last = lines
    assert last["kind"] == "checked"
    assert last["exit_code"] == code
    assert last["errors"] == len([each for each in findings if each["level"] == "error"])
    return findings


def about(findings: list[dict[str, Any]], level: str) -> set[str]:
    return {each["about"] for each in findings if each["level"] == level}


def messages(findings: list[dict[str, Any]], level: str = "error") -> str:
    return "\n".join(each["message"] for each in findings if each["level"] == level)


def test_every_mistake_is_found_at_once(clarion: Clarion) -> None:
    """Also a rule between two settings, and what a bad secret would hide."""
    findings = checked(
        clarion,
        "--offline",
        code=ExitCode.USAGE,
        CLARION_JWT_SECRET="short",
        CLARION_REDIS_URL="http://:hunter2@a",
        CLARION_JWT_ALGORITHMS="none",
        GATEWAY_PORT="99999",
        GATEWAY_MAX_CONECTIONS="3",
        PUBLISHER_BODY_MAX_BYTES="5000",
    )
    assert about(findings, "error") == {
        "CLARION_JWT_ALGORITHMS", "CLARION_JWT_SECRET", "CLARION_REDIS_URL", "GATEWAY_PORT",
        "settings",
    }  # fmt: skip
    told = messages(findings)
    assert "PUBLISHER_DATA_MAX_BYTES" in told
    assert "hunter2" not in str(findings)
    assert about(findings, "warning") == {"GATEWAY_MAX_CONECTIONS"}
    assert "GATEWAY_MAX_CONNECTIONS" in messages(findings, "warning")
    (shared,) = [each for each in findings if each["about"] == "CLARION_REDIS_URL"]
    assert shared["services"] == ["gateway", "publisher"]


def test_nothing_is_set(clarion: Clarion) -> None:
    findings = checked(clarion, "--offline", code=ExitCode.USAGE)
    assert "expected exactly one of CLARION_JWT_SECRET" in messages(findings)


def test_doubts(clarion: Clarion) -> None:
    findings = checked(
        clarion,
        "--offline",
        CLARION_JWT_SECRET="ab" * 20,
        CLARION_PROFILE="dev",
        GATEWAY_ALLOWED_ORIGINS="*",
        GATEWAY_PING_INTERVAL_SECONDS="90",
        GATEWAY_MAX_CONNECTIONS="1000000",
    )
    assert about(findings, "warning") >= {
        "CLARION_JWT_SECRET", "CLARION_PROFILE", "GATEWAY_ALLOWED_ORIGINS",
        "GATEWAY_PING_INTERVAL_SECONDS",
    }  # fmt: skip
    strict = clarion.run("check", "--offline", "--strict", CLARION_JWT_SECRET="ab" * 20)
    assert strict.returncode == ExitCode.FAILED


@pytest.mark.parametrize(
    ("url", "is_local"),
    [
        ("redis://localhost", True),
        ("redis://:secret@[::1]:6379/0", True),
        ("redis+cluster://redis-0:7000,127.0.0.1:7001", True),
        ("redis://localhost.shop:6379", False),
        ("redis://[2001:db8::1]:6379", False),
    ],
)
def test_a_redis_on_this_machine(clarion: Clarion, url: str, is_local: bool) -> None:
    findings = checked(clarion, "--offline", CLARION_JWT_SECRET=SECRET, CLARION_REDIS_URL=url)
    assert ("CLARION_REDIS_URL" in about(findings, "warning")) == is_local


def test_a_login_apart_from_the_url(clarion: Clarion, valkey: Valkey) -> None:
    with redis.Redis(port=valkey.port) as admin:
        admin.execute_command("ACL", "SETUSER", "clarion", "on", ">p@ss/word", "~*", "&*", "+@all")
        admin.execute_command("ACL", "SETUSER", "default", "off")
    file = clarion.folder / "password"
    file.write_text("p@ss/word\n")
    login = {
        "CLARION_JWT_SECRET": SECRET,
        "CLARION_REDIS_URL": valkey.url,
        "CLARION_REDIS_USERNAME": "clarion",
    }
    findings = checked(clarion, **login, CLARION_REDIS_PASSWORD_FILE=str(file))
    assert "has every right" in messages(findings, "ok")
    wrong = checked(clarion, code=ExitCode.REFUSED, **login, CLARION_REDIS_PASSWORD="hunter2")
    assert "refuses the login" in messages(wrong)
    assert "hunter2" not in str(wrong)


def test_bad_files_of_secrets_do_not_hide_other_mistakes(clarion: Clarion) -> None:
    findings = checked(
        clarion,
        "--offline",
        code=ExitCode.USAGE,
        CLARION_JWT_SECRET=SECRET,
        CLARION_JWT_SECRET_FILE="/run/secrets/jwt",
        CLARION_REDIS_PASSWORD_FILE="/run/secrets/redis",
        PUBLISHER_BODY_MAX_BYTES="5000",
    )
    assert about(findings, "error") >= {"CLARION_JWT_SECRET", "CLARION_REDIS_PASSWORD"}
    assert "PUBLISHER_DATA_MAX_BYTES" in messages(findings)


def test_handlers_that_cannot_be_imported(clarion: Clarion) -> None:
    findings = checked(
        clarion,
        "--offline",
        code=ExitCode.USAGE,
        CLARION_JWT_SECRET=SECRET,
        GATEWAY_HANDLERS="no_such_module:handlers",
    )
    assert about(findings, "error") == {"GATEWAY_HANDLERS"}


def test_handlers_of_the_current_folder_are_found(clarion: Clarion) -> None:
    """By the installed command, too: unlike `python -m`, it does not look there by itself."""
    (clarion.folder / "mine.py").write_text("import clarion\nhandlers = clarion.Handlers()\n")
    checked = subprocess.run(
        [Path(sys.executable).with_name("clarion"), "check", "--offline", "--service", "gateway"],
        cwd=clarion.folder,
        env=environment(CLARION_JWT_SECRET=SECRET, GATEWAY_HANDLERS="mine:handlers"),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "GATEWAY_HANDLERS" not in checked.stdout + checked.stderr
    assert checked.returncode == ExitCode.DONE


def test_a_dotenv_file_and_not_the_environment(clarion: Clarion) -> None:
    file = clarion.folder / "production.env"
    file.write_text(f"CLARION_JWT_SECRET='{SECRET}' # from the vault\nGATEWAY_PORT=0.5\n")
    findings = checked(
        clarion,
        "--env-file", str(file), "--offline",
        code=ExitCode.USAGE,
        GATEWAY_INTERNAL_PORT="nothing",
    )  # fmt: skip
    assert about(findings, "error") == {"GATEWAY_PORT"}
    only = checked(clarion, "--env-file", str(file), "--offline", "--service", "publisher")
    assert about(only, "error") == set()


VALUES = """
auth: {existingSecret: {name: tokens}}
redis: {existingSecret: {name: redis}}
settings: {CLARION_HISTORY_MAX_EVENTS: 1000.0, CLARION_LOG_LEVEL: warn}
gateway:
  settings: {GATEWAY_ALLOW_ANONYMOUS: false, GATEWAY_MAX_UNSENT_BYTES: 20000}
publisher:
  settings: {CLARION_NAMESPACE: other, PUBLISHER_MAX_SOCKET: 5}
"""


def test_values_of_the_chart(clarion: Clarion) -> None:
    file = clarion.folder / "values.yaml"
    file.write_text(VALUES.replace("warn}", "warning}"))
    findings = checked(clarion, "--values", str(file), code=ExitCode.USAGE)
    assert about(findings, "error") == {"CLARION_NAMESPACE", "GATEWAY_MAX_UNSENT_BYTES"}
    assert about(findings, "warning") >= {"PUBLISHER_MAX_SOCKET", "CLARION_REDIS_URL"}
    file.write_text(VALUES)
    findings = checked(clarion, "--values", str(file), code=ExitCode.USAGE)
    assert about(findings, "error") == {"CLARION_LOG_LEVEL"}


def test_every_fault_in_the_rules_for_topics_is_found(clarion: Clarion) -> None:
    file = clarion.folder / "values.yaml"
    rules = "topicRules: [{pattern: a..b}, {pattern: c, histroy: false}]"
    file.write_text(VALUES.replace("warn}", "warning}") + rules)
    findings = checked(clarion, "--values", str(file), code=ExitCode.USAGE)
    told = [each for each in findings if each["about"] == "CLARION_TOPIC_RULES"]
    assert [each["message"].partition(":")[0] for each in told] == [
        "topics[0].pattern",
        "topics[1].histroy",
    ]
    assert all(each["services"] == ["gateway", "publisher"] for each in told)


def test_both_services_need_the_same_rules_for_topics(clarion: Clarion) -> None:
    file = clarion.folder / "rules.yaml"
    file.write_text("topics: [{pattern: a}]")
    good = checked(clarion, "--offline", CLARION_JWT_SECRET=SECRET, CLARION_TOPIC_RULES=str(file))
    assert about(good, "error") == set()


@pytest.mark.parametrize("name", sorted((ROOT / "deploy/helm/clarion/ci").glob("*-values.yaml")))
def test_the_examples_of_values_are_right(clarion: Clarion, name: Path) -> None:
    """But for the place of a public key, which holds none."""
    result = clarion.run("check", "--values", str(name), "--offline")
    findings = [json.loads(line) for line in result.stdout.splitlines()][:-1]
    assert about(findings, "error") <= {"CLARION_JWT_PUBLIC_KEY"}


@pytest.mark.parametrize("text", ["a: [", "- a"])
def test_a_file_that_holds_no_values(clarion: Clarion, text: str) -> None:
    file = clarion.folder / "values.yaml"
    file.write_text(text)
    assert str(file) in clarion.fails("check", "--values", str(file))
    assert "cannot read" in clarion.fails("check", "--values", str(file) + ".no")
    both = clarion.fails("check", "--values", str(file), "--env-file", str(file))
    assert "got both" in both


def test_a_redis_that_fits(clarion: Clarion, valkey: Valkey) -> None:
    findings = checked(clarion, CLARION_JWT_SECRET=SECRET, CLARION_REDIS_URL=valkey.url)
    told = messages(findings, "ok")
    assert "Valkey" in told
    assert "standalone, noeviction, appendonly" in told
    assert "every right" in told


def test_a_redis_that_does_not_answer(clarion: Clarion) -> None:
    url = f"redis://:hunter2@127.0.0.1:{free_port()}/0"
    findings = checked(
        clarion, code=ExitCode.UNREACHABLE, CLARION_JWT_SECRET=SECRET, CLARION_REDIS_URL=url
    )
    assert "Connection refused" in messages(findings)
    assert "hunter2" not in str(findings)


def acl(valkey: Valkey, *rules: str) -> str:
    """The URL of a user with these rights and no others."""
    with redis.Redis(port=valkey.port) as client:
        client.execute_command("ACL", "SETUSER", "app", "reset", "on", ">pass", *rules)
    return valkey.url.replace("://", "://app:pass@")


ALL = ("~clarion:*", "&clarion:*", "+@all", "-@admin", "-@dangerous", "+info")


@pytest.mark.parametrize(
    ("rules", "told"),
    [
        ((*ALL, "-@stream"), r"XADD \(@stream\)"),
        ((*ALL, "-@sortedset"), r"ZADD \(@sortedset\)"),
        ((*ALL, "-hset"), r"HSET \(@hash\)"),
        ((*ALL, "-publish"), r"PUBLISH \(@pubsub\)"),
        ((*ALL, "-subscribe"), r"SUBSCRIBE to the channels clarion:"),
        ((*ALL, "resetchannels", "&other:*"), r"channels clarion:"),
        ((*ALL, "resetkeys", "~other:*"), r"scripts do not run"),
        ((*ALL, "-@scripting"), r"scripts do not run.*@scripting"),
    ],
)
def test_a_right_that_is_missing(
    clarion: Clarion, valkey: Valkey, rules: tuple[str, ...], told: str
) -> None:
    url = acl(valkey, *rules)
    findings = checked(
        clarion, code=ExitCode.REFUSED, CLARION_JWT_SECRET=SECRET, CLARION_REDIS_URL=url
    )
    assert re.search(told, messages(findings)), findings


def test_a_user_with_every_right_or_a_wrong_password(clarion: Clarion, valkey: Valkey) -> None:
    url = acl(valkey, *ALL)
    variables = {"CLARION_JWT_SECRET": SECRET, "CLARION_REDIS_URL": url}
    assert "every right" in messages(checked(clarion, **variables), "ok")
    variables["CLARION_REDIS_URL"] = url.replace("app:pass", "app:hunter2")
    findings = checked(clarion, code=ExitCode.REFUSED, **variables)
    assert "refuses the login" in messages(findings)
    assert "hunter2" not in str(findings)


def test_eviction_and_a_lack_of_memory(clarion: Clarion, valkey: Valkey) -> None:
    variables = {"CLARION_JWT_SECRET": SECRET, "CLARION_REDIS_URL": valkey.url}
    with redis.Redis(port=valkey.port) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        told = messages(checked(clarion, **variables), "warning")
        assert "maxmemory-policy allkeys-lru" in told
        client.config_set("maxmemory-policy", "noeviction")
        client.config_set("maxmemory", "1")
        findings = checked(clarion, code=ExitCode.UNAVAILABLE, **variables)
        assert "OOM" in messages(findings)


def test_a_replica_and_replicas_that_are_missing(clarion: Clarion, valkey: Valkey) -> None:
    variables = {"CLARION_JWT_SECRET": SECRET, "CLARION_REDIS_URL": valkey.url}
    findings = checked(clarion, code=ExitCode.SETUP, CLARION_WAIT_REPLICAS="1", **variables)
    assert about(findings, "error") == {"CLARION_WAIT_REPLICAS"}
    with redis.Redis(port=valkey.port) as client:
        client.replicaof("127.0.0.1", free_port())
    assert "replica" in messages(checked(clarion, code=ExitCode.SETUP, **variables))


def test_a_cluster_and_a_url_that_names_none(clarion: Clarion, tmp_path: Path) -> None:
    with cluster(tmp_path) as topology:
        variables = {"CLARION_JWT_SECRET": SECRET, "CLARION_REDIS_URL": topology.url}
        findings = checked(clarion, **variables)
        assert "cluster" in messages(findings, "ok")
        assert "every right" in messages(findings, "ok")
        node = topology.url.partition("://")[2].partition(",")[0]
        variables["CLARION_REDIS_URL"] = f"redis://{node}/0"
        findings = checked(clarion, code=ExitCode.SETUP, **variables)
        assert "write redis+cluster://" in messages(findings)


def test_the_issuers_keys(clarion: Clarion, valkey: Valkey) -> None:
    variables = {"CLARION_REDIS_URL": valkey.url}
    nowhere = f"http://127.0.0.1:{free_port()}/jwks.json"
    findings = checked(
        clarion, code=ExitCode.UNREACHABLE, CLARION_JWT_JWKS_URL=nowhere, **variables
    )
    assert about(findings, "error") == {"CLARION_JWT_JWKS_URL"}
    with serving() as issuer:
        issuer.publish(jwk(ec.generate_private_key(ec.SECP256R1()), "a"))
        findings = checked(clarion, CLARION_JWT_JWKS_URL=issuer.url, **variables)
        assert "it has keys" in messages(findings, "ok")
        assert issuer.requests == 1


def test_old_versions_and_descriptions() -> None:
    info = {"redis_version": "6.2.14", "aof_enabled": "1"}
    (finding,) = judge(info, clustered=False, replicas=0)
    assert "version 6.2.14; Clarion needs 7.0 or newer" in finding.message
    assert finding.code is ExitCode.SETUP
    assert describe(info).startswith("Redis 6.2.14, standalone")


def test_every_command_of_the_scripts_is_tried() -> None:
    """A command that a script begins to use must be tried, too."""
    used = {
        command
        for script in SCRIPTS.glob("*.lua")
        for command in re.findall(r"redis\.call\('([A-Z]+)'", script.read_text())
    }
    tried = set(
        re.findall(r"^  \{'([A-Z]+)'", (SCRIPTS / "permissions.lua").read_text(), re.MULTILINE)
    )
    assert len(used) > 10
    assert used <= tried

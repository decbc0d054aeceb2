"""`deploy.audit`: a vulnerable version fails; a version that could not be checked is reported."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

from deploy.audit import CONSTRAINTS, audit, verdict

_ROOT: Final = Path(__file__).parents[2]
_SOUND: Final = {"name": "sound", "version": "1.0", "vulns": []}
_UNKNOWN: Final = {"name": "unknown", "skip_reason": "Dependency not found on PyPI"}
_BAD: Final = {
    "name": "bad",
    "version": "1.0",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["1.1", "2.0"], "aliases": [], "description": ""}],
}


def report(*packages: object) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


def test_sound_packages_pass() -> None:
    found = verdict(report(_SOUND, _SOUND), "")
    assert not found.vulnerable
    assert found.lines == ["audited 2 packages; known vulnerabilities: 0"]


def test_a_vulnerability_fails_with_what_to_do() -> None:
    found = verdict(report(_SOUND, _BAD, _UNKNOWN), "")
    assert found.vulnerable
    assert found.lines[0] == "bad 1.0: PYSEC-1, fixed in 1.1 or 2.0"


def test_what_the_service_does_not_know_is_not_called_sound() -> None:
    found = verdict(report(_UNKNOWN, _UNKNOWN), "No known vulnerabilities found")
    assert not found.vulnerable
    assert found.lines == [
        "audited 0 packages; known vulnerabilities: 0",
        "not audited: 2 packages that the vulnerability service does not know",
    ]


def test_a_service_out_of_reach_is_said_and_does_not_fail(tmp_path: Path) -> None:
    """Runs the real pip-audit with a proxy address where nothing listens."""
    (tmp_path / "constraints.txt").write_text("six==1.17.0\n")
    code = "from deploy.audit import audit; from pathlib import Path; print(audit(Path('{}')))"
    done = subprocess.run(
        [sys.executable, "-c", code.format(tmp_path / "constraints.txt")],
        cwd=_ROOT,
        env={"HTTPS_PROXY": "http://127.0.0.1:9", "HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "not audited for known vulnerabilities: " in done.stdout
    assert "ProxyError" in done.stdout
    assert "vulnerable=False" in done.stdout


class _Osv(BaseHTTPRequestHandler):
    """A vulnerability service that reports one package, in the schema of osv.dev."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        affected = {
            "package": {"name": "bad", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "1.1"}]}],
        }
        known = {"id": "PYSEC-1", "summary": "bad", "aliases": [], "affected": [affected]}
        answer = {"vulns": [known]} if asked["package"]["name"] == "bad" else {}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def test_pip_audit_says_it_as_we_read_it(tmp_path: Path) -> None:
    (tmp_path / "constraints.txt").write_text("bad==1.0\nsound==1.0\n")
    with ThreadingHTTPServer(("127.0.0.1", 0), _Osv) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,)).start()
        address = f"http://127.0.0.1:{server.server_port}/v1/query"
        found = audit(tmp_path / "constraints.txt", "-s", "osv", "--osv-url", address)
        server.shutdown()
    assert found.vulnerable
    assert found.lines == [
        "bad 1.0: PYSEC-1, fixed in 1.1",
        "audited 2 packages; known vulnerabilities: 1",
    ]


def test_every_package_is_asked_about() -> None:
    """Pins that pip-audit cannot read would be left out without an error."""
    lines = [line for line in CONSTRAINTS.read_text().splitlines() if not line.startswith("#")]
    assert all(re.match(r"[\w.-]+==[\w.]+( ;|$)", line) for line in lines)

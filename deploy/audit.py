"""Asks PyPI's vulnerability service about every version that constraints.txt pins, with pip-audit.

``python -m deploy.audit`` is a part of ``make check``. It fails only for a known vulnerability. If
the service cannot be reached, that says nothing about the code, so the check passes. pip-audit
alone would end with a traceback, and would treat packages unknown to the service as safe.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

CONSTRAINTS: Final = Path(__file__).parents[1] / "constraints.txt"

_SECONDS: Final = 120
_SOCKET_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """The findings about the pinned versions.

    Attributes:
        lines: text for people.
        vulnerable: whether a version must be changed.
    """

    lines: list[str] = field(default_factory=list)
    vulnerable: bool = False


def verdict(report: str, complaints: str) -> Verdict:
    """Interpret pip-audit's output.

    Args:
        report: its standard output: JSON, or nothing if it gave up.
        complaints: its standard error.
    """
    try:
        packages = json.loads(report)["dependencies"]
    except ValueError:
        reason = complaints.strip().splitlines()[-1:] or ["no answer"]
        return Verdict([f"not audited for known vulnerabilities: {reason[0][:200]}"])
    found = [
        f"{package['name']} {package['version']}: {known['id']}, "
        f"fixed in {' or '.join(known['fix_versions']) or 'no version yet'}"
        for package in packages
        for known in package.get("vulns", ())
    ]
    unknown = sum("skip_reason" in package for package in packages)
    lines = [
        *found,
        f"audited {len(packages) - unknown} packages; known vulnerabilities: {len(found)}",
    ]
    if unknown:
        lines.append(
            f"not audited: {unknown} packages that the vulnerability service does not know"
        )
    return Verdict(lines, vulnerable=bool(found))


def audit(constraints: Path = CONSTRAINTS, *options: str) -> Verdict:
    """Run pip-audit, with further options."""
    command = [
        sys.executable, "-m", "pip_audit", "--requirement", str(constraints), "--no-deps",
        "--disable-pip", "--format", "json", "--progress-spinner", "off",
        "--timeout", str(_SOCKET_SECONDS), *options,
    ]  # fmt: skip
    try:
        done = subprocess.run(  # noqa: S603 - nothing of anybody else's in it
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return verdict("", f"no answer within {_SECONDS} s")
    return verdict(done.stdout, done.stderr)


def main() -> int:
    """Print the verdict; return 1 for a known vulnerability."""
    found = audit()
    print("\n".join(found.lines))
    return int(found.vulnerable)


if __name__ == "__main__":
    sys.exit(main())

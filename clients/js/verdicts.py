"""Write src/verdicts.ts: what a client does after each end of a connection.

The codes come from the gateway's own table, the HTTP statuses from docs/errors.md. Run it after a
change of either: ``python clients/js/verdicts.py``. A test compares.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from clarion_gateway.connections import close_codes
from clarion_gateway.connections.close_codes import Close

_HERE: Final = Path(__file__).parent
TARGET: Final = _HERE / "src" / "verdicts.ts"

_HEAD: Final = """\
// Written by verdicts.py from the gateway's close codes and docs/errors.md. Do not edit.

/**
 * - `retry`: come back.
 * - `token`: come back once with a fresh token.
 * - `stop`: coming back would end the same way.
 */
export type Verdict = "retry" | "token" | "stop";

/** By close code, HTTP status, or label of an event stream's `$error`. All others: `retry`. */
const VERDICTS: Record<number | string, Verdict> = {
"""

_TAIL: Final = """\
};

/** What to do after a connection ended. */
export function verdict(code: number | string): Verdict {
  return VERDICTS[code] ?? "retry";
}
"""


def text() -> str:
    """The content of src/verdicts.ts."""
    closes = [close for close in vars(close_codes).values() if isinstance(close, Close)]
    verdicts: dict[int | str, str] = {}
    for close in closes:
        verdict = _verdict(close.code, reconnect=close.reconnect)
        if verdict != "retry" and close.code != close_codes.NORMAL.code:
            verdicts[close.code] = verdicts[close.label] = verdict
    for status, come_back in _statuses().items():
        if come_back.startswith(("no", "with", "by")):
            verdicts[status] = _verdict(status, reconnect=False)
    numbers = sorted(code for code in verdicts if isinstance(code, int))
    labels = sorted(code for code in verdicts if isinstance(code, str))
    lines = [f'  {code}: "{verdicts[code]}",\n' for code in (*numbers, *labels)]
    return _HEAD + "".join(lines) + _TAIL


def _verdict(code: int, *, reconnect: bool) -> str:
    if reconnect:
        return "retry"
    return "token" if code % 4000 == 401 else "stop"


def _statuses() -> dict[int, str]:
    """The last column of the table of HTTP answers, by status."""
    page = (_HERE.parents[1] / "docs" / "errors.md").read_text()
    section = page.partition("## What a gateway answers over HTTP")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| ([45]\d\d) \|.*\| ([^|]+) \|$", section, re.MULTILINE)
    return {int(status): come_back for status, come_back in rows}


if __name__ == "__main__":
    TARGET.write_text(text())

"""Write src/verdicts.ts: what a client does after each end of a connection.

It comes from the protocol's tables in contract/clarion_contract/protocol. Run it after a change of
them: ``python clients/js/verdicts.py``. A test compares.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from clarion_contract.protocol import tables

TARGET: Final = Path(__file__).parent / "src" / "verdicts.ts"

_HEAD: Final = """\
// Written by verdicts.py from contract/clarion_contract/protocol. Do not edit.

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
    verdicts = tables.verdicts()
    numbers = sorted(code for code in verdicts if isinstance(code, int))
    labels = sorted(code for code in verdicts if isinstance(code, str))
    lines = [f'  {code}: "{verdicts[code]}",\n' for code in (*numbers, *labels)]
    return _HEAD + "".join(lines) + _TAIL


if __name__ == "__main__":
    TARGET.write_text(text())

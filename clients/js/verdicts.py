"""Write src/verdicts.ts: what a client does after each end of a connection.

It comes from the protocol's tables in contract/clarion_contract/protocol. Run it after a change of
them: ``python clients/js/verdicts.py``. A test compares.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from clarion_contract.protocol import tables

TARGET: Final = Path(__file__).parent / "src" / "verdicts.ts"

_HEAD: Final = """\
// Written by verdicts.py from contract/clarion_contract/protocol. Do not edit.

/**
 * - `token`: come back once with a fresh token.
 * - `stop`: coming back would end the same way.
 *
 * Missing: come back.
 */
export type Verdict = "token" | "stop";

/** What to do after a WebSocket closed, by close code. */
export const AFTER_CLOSE: Record<number, Verdict> = {
"""

_MIDDLE: Final = """\
};

/** What to do after an event stream: by HTTP status, or by the label of `$error`. */
export const AFTER_STREAM: Record<number | string, Verdict> = {
"""

_TAIL: Final = "};\n"
# HTTP statuses are below, close codes above.
_CODES_FROM: Final = 1_000


def text() -> str:
    """The content of src/verdicts.ts. The core of the client needs the first table only."""
    verdicts = tables.verdicts()
    numbers = sorted(code for code in verdicts if isinstance(code, int))
    labels = sorted(code for code in verdicts if isinstance(code, str))

    def rows(codes: Iterable[int | str]) -> str:
        return "".join(f'  {code}: "{verdicts[code]}",\n' for code in codes)

    closes = [code for code in numbers if code >= _CODES_FROM]
    statuses = [code for code in numbers if code < _CODES_FROM]
    return _HEAD + rows(closes) + _MIDDLE + rows([*statuses, *labels]) + _TAIL


if __name__ == "__main__":
    TARGET.write_text(text())

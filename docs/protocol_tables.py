"""Writes the protocol's tables into the pages, from the JSON in contract/clarion_contract/protocol.

A page marks the place: the function of that name in `BLOCKS` generates everything between
``<!-- protocol: NAME -->`` and ``<!-- end of protocol -->``. A test compares the pages with the
generated text. To write the tables again, run ``python -m docs.protocol_tables``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from clarion_contract.protocol import tables

PAGES: Final = (Path(__file__).parent / "errors.md",)

_BLOCK: Final = re.compile(
    r"(?P<begin><!-- protocol: (?P<name>[\w-]+) -->\n).*?(?P<end><!-- end of protocol -->)",
    re.DOTALL,
)


def _table(*rows: Iterable[object]) -> str:
    head, *others = ["| " + " | ".join(map(str, row)) + " |" for row in rows]
    return "\n".join([head, "|---" * (head.count(" | ") + 1) + "|", *others]) + "\n"


def _closes() -> str:
    return _table(
        ("code", "label", "when", "whose fault", "come back"),
        *((x.code, f"`{x.label}`", x.when, x.fault, x.come_back) for x in tables.closes()),
    )


def _refusals() -> str:
    return _table(
        ("status", "when", "label", "come back"),
        *((x.status, x.when, x.label, x.come_back) for x in tables.refusals()),
    )


def _errors() -> str:
    return _table(
        ("code", "in answer to", "when", "whose fault", "again"),
        *(
            (
                f"`{x.code}`" if x.code else "any other",
                ", ".join(f"`{kind}`" for kind in x.answers) or "anything",
                x.when,
                x.fault,
                x.again,
            )
            for x in tables.message_errors()
        ),
    )


def _problems() -> str:
    return _table(
        ("name", "status", "when", "whose fault", "again"),
        *((f"`{x.name}`", x.status, x.when, x.fault, x.again) for x in tables.problems()),
    )


BLOCKS: Final[dict[str, Callable[[], str]]] = {
    "closes": _closes,
    "refusals": _refusals,
    "errors": _errors,
    "problems": _problems,
}


def page(text: str) -> str:
    """The page with its tables as the data say.

    Raises:
        KeyError: the page asks for a table that is not here.
    """
    return _BLOCK.sub(lambda m: m["begin"] + BLOCKS[m["name"]]() + m["end"], text)


if __name__ == "__main__":
    for path in PAGES:
        path.write_text(page(path.read_text()))

"""Two more kinds of audience, in one file, a row each: the users on a list, and teams by name.

    python -m tests.seams.staff clarion_gateway
    python -m tests.seams.staff clarion_publisher

runs a service that knows them.
"""

from __future__ import annotations

import importlib
import sys

from clarion_contract.events.audience import KINDS, Kind
from clarion_contract.events.naming import InvalidName, Naming

STAFF = {"alice", "carol"}

KINDS["staff"] = Kind(
    "staff", "publish:staff", joins=lambda member: ("",) if member.user in STAFF else ()
)


def check_team(name: str) -> str:
    if not name.isalpha():
        raise InvalidName(f"expected a team's name of letters, got {name!r}")
    return name


# Teams have names. A user's token lists those of the user.
KINDS["team"] = Kind(
    "team",
    "publish:team",
    joins=lambda member: member.lists.get("teams", ()),
    naming=Naming(
        check_team,
        expected="a team's name of letters",
        audience="every member of one team",
        description="The team's name.",
        example="red",
        max_characters=20,
        pattern="^[A-Za-z]+$",
        covers=lambda pattern, name: name.startswith(pattern),
    ),
    claims=("teams",),
)

if __name__ == "__main__":
    server = importlib.import_module(f"{sys.argv.pop(1)}.server")
    sys.exit(server.main())

"""JSON pointers (RFC 6901): the place of a value in a JSON document, as a text."""

from __future__ import annotations


def json_pointer(*path: str | int) -> str:
    """The pointer of a path of names and positions.

    Example: ``json_pointer("data", "a/b", 0) == "/data/a~1b/0"``.
    """
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


def path_of(pointer: str) -> list[str]:
    """The names and positions in a pointer.

    Example: ``path_of("/data/a~1b/0") == ["data", "a/b", "0"]``.
    """
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]]

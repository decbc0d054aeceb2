"""Reads JSON and YAML that operators write, and refuses a key that stands twice.

Both formats let the last value win, so a declaration or a rule would be lost in silence.
"""

from __future__ import annotations

import json
from typing import Any


def parse_json(text: str) -> Any:  # noqa: ANN401 - any JSON
    """The value of JSON text.

    Raises:
        ValueError: it is no JSON, or an object has a key twice.
        RecursionError: it is nested too deep.
    """
    return json.loads(text, object_pairs_hook=_object)


def parse_yaml(text: str) -> Any:  # noqa: ANN401 - any YAML
    """The value of YAML text, of plain types only.

    Raises:
        yaml.YAMLError: it is no YAML.
        ValueError: a map has a key twice.
        RecursionError: it is nested too deep.
    """
    import yaml  # noqa: PLC0415 - slow, rarely used

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        # Before merges (``<<``) put inherited keys beside a map's own.
        def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode | None:
            node = super().compose_mapping_node(anchor)
            keys = [] if node is None else [key for key, _ in node.value]
            _check_unique([key.value for key in keys if isinstance(key, yaml.ScalarNode)])
            return node

    return yaml.load(text, Loader)  # noqa: S506 - a safe loader


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_unique([name for name, _ in pairs])
    return dict(pairs)


def _check_unique(names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:64]!r} stands twice")

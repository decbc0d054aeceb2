"""Reads JSON and YAML that operators write, and refuses a key that stands twice.

Both formats let the last value win, so a declaration or a rule would be lost in silence.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, ClassVar, Final

# A catalogue of 10,000 events has fewer. A few lines of aliases of aliases have billions.
_YAML_MAX_VALUES: Final = 2_000_000
_TIMESTAMP: Final = "tag:yaml.org,2002:timestamp"


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
        ValueError: a map has a key twice, a value does not fit its tag, or aliases make it large.
        RecursionError: it is nested too deep.
    """
    import yaml  # noqa: PLC0415 - slow, rarely used

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # yaml has no types
        # YAML 1.2 has no dates, and JSON has none: 2024-01-01 is a text.
        yaml_implicit_resolvers: ClassVar = {
            first: [pair for pair in pairs if pair[0] != _TIMESTAMP]
            for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

        # Before merges (``<<``) put inherited keys beside a map's own.
        def compose_mapping_node(self, anchor: str | None) -> yaml.MappingNode | None:
            node = super().compose_mapping_node(anchor)
            keys = [] if node is None else [key for key, _ in node.value]
            _check_unique([key.value for key in keys if isinstance(key, yaml.ScalarNode)])
            return node

        def construct_document(self, node: yaml.Node) -> Any:  # noqa: ANN401
            if _Sizes().of(node) > _YAML_MAX_VALUES:
                raise ValueError(f"expected at most {_YAML_MAX_VALUES} values, aliases included")
            try:
                return super().construct_document(node)
            except (AttributeError, LookupError, TypeError):
                # Bugs of PyYAML, in values such as ``!!bool x``.
                raise ValueError("expected values that fit their tags") from None

    return yaml.load(text, Loader)  # noqa: S506 - a safe loader


class _Sizes:
    """The number of values in a YAML node with all its aliases written out."""

    def __init__(self) -> None:
        self._known: dict[int, int] = {}  # by the node's identity; 0: being counted

    def of(self, node: Any) -> int:  # noqa: ANN401 - yaml has no types
        """Count a node.

        Raises:
            ValueError: it contains itself.
        """
        known = self._known.get(id(node))
        if known is None:
            self._known[id(node)] = 0
            known = self._known[id(node)] = 1 + sum(map(self.of, _children(node)))
        elif not known:
            raise ValueError("expected no value that contains itself")
        return known


def _children(node: Any) -> Iterator[Any]:  # noqa: ANN401 - yaml has no types
    if isinstance(node.value, list):  # else a scalar
        for child in node.value:
            if isinstance(child, tuple):  # of a map
                yield from child
            else:
                yield child


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    _check_unique([name for name, _ in pairs])
    return dict(pairs)


def _check_unique(names: list[str]) -> None:
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"the key {twice[:64]!r} stands twice")

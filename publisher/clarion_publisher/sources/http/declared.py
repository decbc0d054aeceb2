"""The declared events in the OpenAPI document: their data's schemas, and an example for each."""

from __future__ import annotations

from typing import Any, Final

from clarion_contract.events.audience import KINDS
from clarion_contract.events.catalogue import Catalogue
from clarion_contract.events.components import Components
from clarion_contract.events.declaration import Declaration
from clarion_contract.events.declared_schemas import declared_data

_EVENT: Final = "NewEvent"


def add_declared_events(document: dict[str, Any], catalogue: Catalogue, *, path: str) -> None:
    """Add what a catalogue declares to a document.

    The body's schema then says which data belong to which type, and the operation that publishes an
    event gets an example of each type.

    Args:
        path: of the operation that publishes one event.
    """
    schemas = document["components"]["schemas"]
    components = Components(taken=schemas)
    cases = [_case(components, catalogue, each) for each in catalogue if "*" not in each.type]
    if cases:
        schemas[_EVENT]["allOf"] = cases
    schemas.update(components.schemas)
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    examples = {each.type: _example(each) for each in catalogue if each.examples}
    if examples:
        general = content.pop("example")
        content["examples"] = {**examples, "any event": {"value": general}}


def _case(components: Components, catalogue: Catalogue, declaration: Declaration) -> dict[str, Any]:
    data = declared_data(components, catalogue, declaration)
    return {
        "if": {"properties": {"type": {"const": declaration.type}}},
        "then": {"properties": {"data": data}},
    }


def _example(declaration: Declaration) -> dict[str, Any]:
    audience = _audience(declaration)
    data = declaration.examples[0]
    value = {"audience": audience, "type": declaration.type, "data": data}
    about = declaration.description.partition("\n")[0]
    return {"value": value, **({"summary": about} if about else {})}


def _audience(declaration: Declaration) -> str | dict[str, str]:
    """An audience that may receive the event, as producers write it."""
    kind, _, name = (declaration.audiences or ("all",))[0].partition(":")
    naming = KINDS[kind].naming
    if naming is None:
        return kind
    return {kind: name.replace("**", "42").replace("*", "42") or naming.example}

"""Checks JSON text that a source passes on byte for byte. Pure."""

from __future__ import annotations

from typing import Final

import msgspec

from clarion_contract.events import surrogates
from clarion_contract.events.nesting import check_nesting
from clarion_publisher.ingestion.refusal import FieldError, Refusal, invalid_event

_JSON: Final = msgspec.json.Decoder(msgspec.Raw)


def bad_json(data: bytes) -> Refusal | None:
    """The refusal of an event with such data; None: they are JSON that clients can read."""
    try:
        if not data.isascii():
            data.decode()
        _JSON.decode(data)
        check_nesting(data)
    except UnicodeDecodeError as error:
        return _bad_data("JSON in UTF-8", f"other bytes (byte {error.start})")
    except RecursionError:
        return _bad_data("JSON of fewer levels", "JSON that is nested too deeply")
    except msgspec.DecodeError as error:
        if surrogates.has_lone(data):
            return _bad_data(surrogates.EXPECTED, "a lone surrogate")
        return _bad_data("JSON", str(error)[:100])
    return None


def _bad_data(expected: str, got: str) -> Refusal:
    return invalid_event(FieldError("/data", expected, got))

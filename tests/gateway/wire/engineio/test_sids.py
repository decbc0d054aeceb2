"""The ids of sessions: made by one pod, read by all, forged by nobody."""

from __future__ import annotations

from base64 import urlsafe_b64decode, urlsafe_b64encode

from hypothesis import given
from hypothesis import strategies as st

from clarion_gateway.wire.engineio.sids import Sids

KEY = b"k" * 32


def of(key: bytes | None, mark: bytes | None = None) -> Sids:
    return Sids(lambda: key, mark=mark)


def test_every_pod_with_the_key_reads_which_pod_has_made_an_id() -> None:
    maker, reader = of(KEY), of(KEY)
    sid = maker.new()
    assert sid is not None
    assert reader.mark_of(sid) == maker.mark != reader.mark
    assert sid.isascii()
    assert not set(sid) & set("+/=&?")
    assert maker.new() != sid


def test_without_a_key_there_is_no_id() -> None:
    sid = of(KEY).new()
    assert sid is not None
    assert of(None).new() is None
    assert of(None).mark_of(sid) is None


def test_an_id_of_another_key_is_none() -> None:
    sid = of(b"other").new()
    assert sid is not None
    assert of(KEY).mark_of(sid) is None


def test_a_known_id_cannot_be_led_to_another_pod() -> None:
    maker, target = of(KEY), of(KEY)
    sid = maker.new()
    assert sid is not None
    raw = urlsafe_b64decode(sid)
    forged = raw[:15] + bytes.fromhex(target.mark) + raw[21:]
    assert target.mark_of(urlsafe_b64encode(forged).decode()) is None


@given(st.integers(0, 43), st.characters(codec="ascii"))
def test_an_id_with_another_character_is_none(place: int, character: str) -> None:
    sids = of(KEY)
    sid = sids.new()
    assert sid is not None
    changed = sid[:place] + character + sid[place + 1 :]
    assert (sids.mark_of(changed) == sids.mark) == (changed == sid)


@given(st.text(max_size=60))
def test_no_text_raises(text: str) -> None:
    assert of(KEY).mark_of(text) is None

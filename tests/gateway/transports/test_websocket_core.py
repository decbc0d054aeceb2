"""`clarion_gateway.transports.websocket_core`: sockets share cores, and no client notices."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode

from clarion_gateway.transports.websocket_core import Core, SpareCores

MAX_BYTES = 200
MASK = b"\x01\x02\x03\x04"

FRAMES = st.builds(
    Frame,
    st.sampled_from([Opcode.TEXT, Opcode.CONT, Opcode.BINARY, Opcode.PING, Opcode.PONG]),
    st.binary(max_size=120),
    st.booleans(),
) | st.just(Frame(Opcode.CLOSE, b"\x03\xe8"))


def masked(frame: Frame) -> bytes:
    data = bytes(byte ^ MASK[place % 4] for place, byte in enumerate(frame.data))
    return bytes([frame.opcode | (0x80 if frame.fin else 0), 0x80 | len(data)]) + MASK + data


def heard(core: Core, piece: bytes) -> tuple[list[tuple[Opcode, bytes, bool]], bytes, str]:
    """The outcome of a piece in a core: frames, bytes to send, the error."""
    core.receive_data(piece)
    events = [(each.opcode, bytes(each.data), each.fin) for each in core.events_received()]  # type: ignore[union-attr]
    return events, b"".join(core.data_to_send()), repr(core.parser_exc)


@given(
    clients=st.lists(st.lists(FRAMES, max_size=4), min_size=2, max_size=3),
    cuts=st.lists(st.integers(1, 40), min_size=1, max_size=5),
)
def test_shared_cores_hear_what_cores_of_their_own_hear(
    clients: list[list[Frame]], cuts: list[int]
) -> None:
    spare = SpareCores(MAX_BYTES)
    left = [b"".join(map(masked, frames)) for frames in clients]
    own = [Core(MAX_BYTES) for _ in clients]
    kept: dict[int, Core] = {}
    turn = 0
    while any(left):
        for client, data in enumerate(left):
            cut = cuts[turn % len(cuts)]
            turn += 1
            piece, left[client] = data[:cut], data[cut:]
            if not piece:
                continue
            core = kept.pop(client, None) or spare.take()
            assert heard(core, piece) == heard(own[client], piece)
            if core.is_fresh:
                spare.give_back(core)
            else:
                kept[client] = core


def test_a_core_in_the_middle_of_anything_is_not_shared() -> None:
    whole = masked(Frame(Opcode.TEXT, b"hello"))
    for rest in (b"", whole[:1], whole[:2], whole[:5], whole[:-1]):
        core = Core(MAX_BYTES)
        core.receive_data(whole + rest)
        assert core.is_fresh == (not rest), rest
    core = Core(MAX_BYTES)
    core.receive_data(masked(Frame(Opcode.TEXT, b"hel", fin=False)))
    assert not core.is_fresh
    core.receive_data(masked(Frame(Opcode.PING, b"")))
    assert not core.is_fresh
    core.receive_data(masked(Frame(Opcode.CONT, b"lo")))
    assert core.is_fresh


def test_few_spare_cores_are_kept() -> None:
    spare = SpareCores(MAX_BYTES)
    for _ in range(100):
        spare.give_back(Core(MAX_BYTES))
    assert len(spare._spare) <= 8

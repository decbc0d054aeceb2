"""A session that is polled: every order of requests, writes and upgrades."""

from __future__ import annotations

from typing import ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from clarion_gateway.wire import frames
from clarion_gateway.wire.engineio.polling import (
    NOOP,
    PROBE,
    UPGRADE,
    Exchanges,
    Phase,
    Step,
)

CLOSE = b"1"


def packet(number: int) -> bytes:
    return b"4%d" % number


class Life(RuleBasedStateMachine):
    """A client that follows the protocol or not, against what it must have heard."""

    open: ClassVar = {Phase.POLLING, Phase.PROBING, Phase.PROBED}

    def __init__(self) -> None:
        super().__init__()
        self.exchanges = Exchanges()
        self.written = 0
        self.heard: list[bytes] = []
        self.told_of_close = False

    @precondition(lambda self: self.exchanges.phase in self.open)
    @rule()
    def write(self) -> None:
        self.exchanges.write(frames.text(packet(self.written)))
        self.written += 1
        self._flush()

    @rule()
    def poll(self) -> None:
        before = self.exchanges.is_polled
        step = self.exchanges.poll()
        if self.exchanges.phase is Phase.UPGRADED:
            assert step is Step.MOVED
        elif self.told_of_close:
            assert step is Step.UNKNOWN
        elif before:
            assert step is Step.OVERLAP
        elif step is Step.ANSWER:
            self._answer()
        else:
            assert step is Step.WAIT
            self._flush()

    @rule()
    def post(self) -> None:
        before = self.exchanges.is_posting
        step = self.exchanges.post()
        if self.exchanges.phase is Phase.CLOSED:
            assert step is Step.UNKNOWN
        elif self.exchanges.phase is Phase.UPGRADED:
            assert step is Step.MOVED
        else:
            assert step is (Step.OVERLAP if before else Step.WAIT)
            if before:
                assert not self.exchanges.is_posting, "the caller closes the session"
                self.close()

    @precondition(lambda self: self.exchanges.is_posting)
    @rule()
    def posted(self) -> None:
        self.exchanges.posted()

    @rule()
    def probe(self) -> None:
        may = self.exchanges.phase is Phase.POLLING
        assert self.exchanges.probe() is may

    @rule(said=st.sampled_from([PROBE, UPGRADE, b"4hello", b"2", b""]))
    def say(self, said: bytes) -> None:
        before = self.exchanges.phase
        step = self.exchanges.said(said)
        if step is Step.MOVE:
            assert before in {Phase.PROBING, Phase.PROBED}
            assert not self.exchanges.is_posting
            for buffer in self.exchanges.take():
                self.heard += [text for _, text in frames.messages(buffer)]
            if self.exchanges.is_polled:
                assert self.exchanges.answer() == NOOP
        elif step is Step.PROBE_ANSWER:
            assert before is Phase.PROBING
            self._flush()
        else:
            assert step is Step.FAIL
            self.exchanges.probe_failed()
            if before in self.open:
                assert self.exchanges.phase is Phase.POLLING

    @precondition(lambda self: self.exchanges.phase in self.open)
    @rule()
    def close(self) -> None:
        self.exchanges.close(CLOSE)
        if self.exchanges.is_polled:
            self._answer()

    def _flush(self) -> None:
        """The shell's part: a poll that hangs is answered when something waits, or must end."""
        if self.exchanges.is_polled and (self.exchanges.waiting or self.exchanges.must_release):
            self._answer()

    def _answer(self) -> None:
        assert not self.told_of_close, "nothing comes after the last words"
        for text in self.exchanges.answer().split(b"\x1e"):
            if text == CLOSE:
                self.told_of_close = True
            elif text != NOOP:
                self.heard.append(text)

    @invariant()
    def everything_is_heard_once_and_in_order(self) -> None:
        waiting = [text for buffer in self.exchanges.waiting for _, text in frames.messages(buffer)]
        assert self.heard + waiting == [packet(number) for number in range(self.written)]
        assert self.exchanges.waiting_bytes == sum(map(len, self.exchanges.waiting))

    @invariant()
    def an_upgrade_never_waits_for_a_poll(self) -> None:
        assert not self.exchanges.must_release

    @invariant()
    def it_is_over_when_the_client_was_told(self) -> None:
        assert self.exchanges.is_over is self.told_of_close


TestLife = Life.TestCase
TestLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_an_upgrade_as_the_protocol_has_it() -> None:
    exchanges = Exchanges()
    assert exchanges.poll() is Step.WAIT
    assert exchanges.probe()
    assert exchanges.said(PROBE) is Step.PROBE_ANSWER
    assert exchanges.must_release
    assert exchanges.answer() == NOOP
    exchanges.write(frames.text(b"4late"))
    assert exchanges.said(UPGRADE) is Step.MOVE
    assert exchanges.take() == [frames.text(b"4late")]
    assert exchanges.poll() is Step.MOVED
    assert exchanges.post() is Step.MOVED


@pytest.mark.parametrize("said", [PROBE, UPGRADE])
def test_without_a_websocket_nothing_moves(said: bytes) -> None:
    exchanges = Exchanges()
    assert exchanges.said(said) is Step.FAIL
    exchanges.close(CLOSE)
    assert exchanges.said(said) is Step.FAIL


def test_a_client_that_left_hears_nothing_more() -> None:
    exchanges = Exchanges()
    exchanges.write(frames.text(b"4x"))
    exchanges.take()
    exchanges.close(b"")
    assert exchanges.is_over
    assert exchanges.poll() is Step.UNKNOWN

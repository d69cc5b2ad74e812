"""The writing side of a connection: fewer packets, the same bytes."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from dsplatform.api.writer import SMALL, Writer


class Line:
    """A transport that keeps what it is given, a packet each."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self.closed = False

    def write(self, data: bytes) -> None:
        self.packets.append(data)

    def writelines(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def get_write_buffer_size(self) -> int:
        return 5

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def tried(use: Callable[[Writer, Line], Any]) -> Line:
    """What was sent by the end of the turn after `use`."""

    async def turn() -> Line:
        line = Line()
        use(Writer(cast("asyncio.Transport", line), asyncio.get_running_loop()), line)
        await asyncio.sleep(0)
        return line

    return asyncio.run(turn())


def test_a_head_and_its_body_are_one_packet() -> None:
    def answer(writer: Writer, _line: Line) -> None:
        writer.write(b"head ")
        writer.write(b"body")

    assert tried(answer).packets == [b"head body"]


def test_a_head_does_not_wait_for_a_body_that_comes_later() -> None:
    def begin(writer: Writer, line: Line) -> None:
        writer.write(b"head")
        assert line.packets == []
        assert writer.get_write_buffer_size() == 5 + 4

    assert tried(begin).packets == [b"head"]


def test_what_waits_goes_before_the_end() -> None:
    def answer(writer: Writer, _line: Line) -> None:
        writer.write(b"head")
        writer.close()

    line = tried(answer)
    assert (line.packets, line.closed) == ([b"head"], True)


def test_who_is_cut_off_gets_nothing_more() -> None:
    def cut(writer: Writer, _line: Line) -> None:
        writer.write(b"head")
        writer.abort()

    assert tried(cut).packets == []


SIZES = st.sampled_from([0, 1, 7, SMALL, SMALL + 1, 3 * SMALL])


@settings(max_examples=100, deadline=None)
@given(st.lists(st.lists(SIZES, max_size=5), max_size=5))
def test_whatever_is_written_arrives_in_its_order_and_nothing_lies_over_a_turn(turns: list[list[int]]) -> None:
    """`turns`: the sizes of what is written in each turn of the loop."""

    async def go() -> None:
        line, written = Line(), b""
        writer = Writer(cast("asyncio.Transport", line), asyncio.get_running_loop())
        for number, sizes in enumerate(turns):
            for size in sizes:
                data = bytes([65 + number]) * size
                writer.write(data)
                written += data
            await asyncio.sleep(0)
            assert b"".join(line.packets) == written
            assert writer.get_write_buffer_size() == 5

    asyncio.run(go())

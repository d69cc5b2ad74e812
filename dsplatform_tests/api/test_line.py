"""The line in which requests wait to be begun."""

import asyncio
import socket

from hypothesis import given, settings
from hypothesis import strategies as st

from dsplatform.api.line import AT_ONCE, Line
from dsplatform.api.protocol import UNSENT_BYTES, hold_little_unsent


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 3 * AT_ONCE), min_size=1, max_size=8))
def test_all_are_begun_in_the_order_in_which_they_came_and_few_in_one_turn(arrivals: list[int]) -> None:
    """`arrivals`: how many come in each turn."""

    async def turns() -> list[list[int]]:
        loop, line, came = asyncio.get_running_loop(), Line(), 0
        seen: list[list[int]] = []
        for count in [*arrivals, *[0] * (sum(arrivals) // AT_ONCE + 2)]:
            seen.append([])
            for number in range(came, came + count):
                line.join(loop, lambda number=number: seen[-1].append(number))  # type: ignore[misc]
            came += count
            await asyncio.sleep(0)
        return seen

    seen = asyncio.run(turns())
    assert [number for turn in seen for number in turn] == list(range(sum(arrivals)))
    assert max(len(turn) for turn in seen) <= AT_ONCE


def test_connections_have_what_is_held_unsent_from_the_socket_that_accepts_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        hold_little_unsent([listening])
        with socket.create_connection(listening.getsockname()), listening.accept()[0] as accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == UNSENT_BYTES

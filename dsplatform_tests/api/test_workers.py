"""The threads in which requests are worked on."""

import asyncio
import threading

import pytest

from dsplatform.api.workers import Workers


def test_what_the_work_gives_and_raises_comes_to_who_waits_for_it() -> None:
    async def asked() -> None:
        with Workers(1) as workers:
            assert await workers.run(divmod, 7, 2) == (3, 1)
            with pytest.raises(ZeroDivisionError):
                await workers.run(divmod, 7, 0)
            assert await workers.run(threading.get_ident) != threading.get_ident()

    asyncio.run(asked())


def test_as_many_work_at_once_as_there_are_threads() -> None:
    async def asked() -> None:
        together = threading.Barrier(3)
        with Workers(3) as workers:
            places = await asyncio.gather(*(workers.run(together.wait, 60) for _ in range(3)))
            assert sorted(places) == [0, 1, 2]

    asyncio.run(asked())


def test_work_is_taken_in_the_order_in_which_it_comes() -> None:
    async def asked() -> None:
        taken: list[int] = []
        with Workers(1) as workers:
            await asyncio.gather(*(workers.run(taken.append, number) for number in range(50)))
        assert taken == list(range(50))

    asyncio.run(asked())


def test_who_waits_no_more_harms_nobody() -> None:
    async def asked() -> None:
        go_on, failed = threading.Event(), list[object]()
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: failed.append(context))
        with Workers(1) as workers:
            left = asyncio.create_task(workers.run(go_on.wait, 60))
            await asyncio.sleep(0)
            left.cancel()
            go_on.set()
            assert await workers.run(len, "abc") == 3
        assert left.cancelled()
        assert failed == []

    asyncio.run(asked())


def test_the_end_waits_for_the_work_that_was_taken() -> None:
    async def asked() -> None:
        done = threading.Event()
        with Workers(2) as workers:
            waiting = asyncio.create_task(workers.run(done.set))
            await asyncio.sleep(0)
        assert done.is_set()
        await waiting

    asyncio.run(asked())

"""Inputs, made from a seed: the same bytes every time."""

import random
from collections.abc import Iterator
from pathlib import Path

MIB = 1024 * 1024
ROW = "{:010d},2026-{:02d}-{:02d},customer-{:06d},{:.2f},{}\n"
STATES = ("new", "paid", "shipped", "returned")


def _rows(generator: random.Random, start: int, count: int) -> str:
    return "".join(
        ROW.format(
            number,
            generator.randint(1, 12),
            generator.randint(1, 28),
            generator.randint(0, 999_999),
            generator.random() * 1000,
            generator.choice(STATES),
        )
        for number in range(start, start + count)
    )


HEADER = "id,day,customer,amount,state\n"


def csv(path: Path, size: int) -> None:
    """A CSV of about `size` bytes: blocks of rows that differ in a prefix, so that it is quickly made."""
    block = _rows(random.Random(1), 0, 100_000).encode()
    with path.open("wb") as file:
        file.write(HEADER.encode())
        number = 0
        while file.tell() < size:
            file.write(block.replace(b"customer-", b"c%07d-" % number))
            number += 1


def small_files(folder: Path, count: int, duplicates: float) -> None:
    """`count` CSV files of about 10 KiB, of which a share holds the bytes of an earlier one."""
    folder.mkdir(parents=True)
    generator = random.Random(2)
    template = _rows(generator, 0, 190)
    for number in range(count):
        twin = number >= 10 and generator.random() < duplicates
        source = generator.randrange(number) if twin else number
        if twin:
            (folder / f"{number:05}.csv").write_bytes((folder / f"{source:05}.csv").read_bytes())
        else:
            (folder / f"{number:05}.csv").write_text(f"{HEADER}{number:010d},2026-01-01,customer-{number:06d},0.00,new\n{template}")


def snapshots(path: Path, size: int, count: int) -> Iterator[int]:
    """Rewrites `path` `count` times: 1 % of the rows changed, scattered, and 1 % appended. Yields the number of each state."""
    generator = random.Random(3)
    csv(path, size)
    lines = path.read_bytes().splitlines(keepends=True)
    yield 1
    for version in range(2, count + 1):
        for _ in range(len(lines) // 100):
            position = generator.randrange(1, len(lines))
            lines[position] = lines[position].rsplit(b",", 1)[0] + b",v%d\n" % version
        lines += [line.replace(b"2026", b"2027") for line in lines[1 : len(lines) // 100]]
        path.write_bytes(b"".join(lines))
        yield version

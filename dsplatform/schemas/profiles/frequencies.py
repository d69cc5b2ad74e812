"""How many different values a column has, and which are frequent, in bounded memory. Values are texts, each with a count per batch.

Exact up to a limit of different values. Beyond it, the number is estimated from the k smallest hashes (Bar-Yossef et al., "Counting
distinct elements in a data stream", RANDOM 2002; standard error 1/sqrt(k - 2)), and the frequent ones come from a summary of k counters
(Misra and Gries, "Finding repeated elements", 1982), merged batch by batch (Agarwal et al., "Mergeable summaries", PODS 2012): no count
is too large, and none is too small by more than rows / 900.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from hashlib import blake2b
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from dsplatform.schemas.model import PROFILE_EXAMPLES, PROFILE_TEXT, PROFILE_TOP

LIMIT = 10_000
HASHES, COUNTERS = 4096, 1000
LONG = 200
"""Characters. A longer text is kept as its beginning and a digest, so that a column of long texts takes no more memory."""
_NONE = pa.array([], pa.uint64())
ROWS, BUCKET_BITS = 1 << 13, 12
"""From so many rows on, a bucket's usual crowd and what it varies by is less than rows / 900. Arrow sorts up to 12 bits by counting."""
SLICE = 1 << 15
"""Texts hashed at once: what they are spread out to stays in the caches."""
_STEPS = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Frequencies:
    """Takes the values of a column, batch by batch, in their order."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._exact: dict[str, int] | None = {}
        self._smallest = _NONE
        self._counters: dict[str, int] = {}
        self._missing = 0  # no counter is too small by more
        self._examples: list[str] = []
        self._diverse = False  # too many values to count exactly, and most of the last batch were different

    def take(self, values: pa.Array, texts_of: Callable[[pa.Array], pa.Array] = lambda values: values) -> tuple[pa.Array, pa.Array]:
        """Adds the next rows, of which at least one has a value. Returns the values without nulls and how often each counts: different
        ones, or the rows as they are where most are different."""
        if self._diverse and len(values) - values.null_count >= ROWS:
            values = values.drop_null() if values.null_count else values
            self._add_rows(texts_of(values))
            return values, pa.repeat(pa.scalar(1, pa.int64()), len(values))
        counted = pc.value_counts(values)
        different, counts = counted.field("values"), counted.field("counts")
        if values.null_count:
            present = pc.is_valid(different)
            different, counts = different.filter(present), counts.filter(present)
        self.add(texts_of(different), counts)
        return different, counts

    def add(self, texts: pa.Array, counts: pa.Array) -> None:
        """Different texts, none of them null, and how often each stands in the next rows."""
        if not len(texts):
            return
        if len(self._examples) < PROFILE_EXAMPLES:
            self._show(text.as_py() for text in texts[: 2 * PROFILE_EXAMPLES])
        texts = _kept(texts)
        if self._exact is not None:
            if len(texts) <= self._limit:
                self._merge(self._exact, zip(texts.to_pylist(), counts.to_pylist(), strict=True))
                if len(self._exact) > self._limit:
                    self._estimate_from_now_on()
                return
            self._estimate_from_now_on()
        self._merge_hashes(hashes_of(texts))
        self._summarise(texts, counts)
        self._diverse = 2 * len(texts) > pc.sum(counts).as_py()

    def _add_rows(self, texts: pa.Array) -> None:
        """The next rows as they are, none of them null, where most are different. Only what shares a bucket of its hash with many others
        is counted as text: whatever stands more often than `alone` times does."""
        for start in range(0, len(texts), SLICE):
            part = _kept(texts[start : start + SLICE])
            hashes = hashes_of(part)
            self._merge_hashes(hashes)
            buckets = pc.cast(pc.shift_right(hashes, pa.scalar(64 - BUCKET_BITS, pa.uint64())), pa.uint16())
            usual = len(part) / 2**BUCKET_BITS
            alone = round(usual + 4 * usual**0.5 + 1)
            ordered = buckets.take(pc.array_sort_indices(buckets))
            crowded = ordered[alone:].filter(pc.equal(ordered[alone:], ordered[: max(0, len(ordered) - alone)]))
            several = part.filter(pc.is_in(buckets, pc.unique(crowded))) if len(crowded) else part[:0]
            counted = pc.value_counts(several)
            self._missing += alone
            self._summarise(counted.field("values"), counted.field("counts"))
            self._diverse = 2 * len(several) < len(part)

    def add_counts(self, counts: Mapping[str, int], longest: int) -> None:
        """The same for few values, the longest of which has so many characters."""
        if len(self._examples) < PROFILE_EXAMPLES:
            self._show(iter(counts))
        if self._exact is None:
            self.add(pa.array(counts.keys(), pa.string()), pa.array(counts.values(), pa.int64()))
            return
        if longest > LONG:
            counts = {_key(text): count for text, count in counts.items()}
        if self._exact:
            self._merge(self._exact, iter(counts.items()))
        else:
            self._exact = dict(counts)
        if len(self._exact) > self._limit:
            self._estimate_from_now_on()

    @property
    def exact(self) -> bool:
        """Whether `distinct` is no estimate."""
        return self._exact is not None

    @property
    def distinct(self) -> int:
        """Different values."""
        if self._exact is not None:
            return len(self._exact)
        if len(self._smallest) < HASHES:
            return len(self._smallest)
        largest: int = self._smallest[-1].as_py()
        return round((HASHES - 1) * 2**64 / largest)

    @property
    def top(self) -> tuple[tuple[str, int], ...]:
        """The most frequent values, of two with one count the one that was met first; empty where every value stands once. Where counts
        may be too small, only values that stand more often than the count may lack."""
        counts = self._exact if self._exact is not None else self._counters
        if max(counts.values(), default=1) == 1:
            return ()
        found = sorted(counts.items(), key=itemgetter(1), reverse=True)[:PROFILE_TOP]
        return tuple((text[:PROFILE_TEXT], count) for text, count in found if count > self._missing)

    @property
    def examples(self) -> tuple[str, ...]:
        """The first different values."""
        return tuple(text[:PROFILE_TEXT] for text in self._examples)

    def _show(self, texts: Iterator[str]) -> None:
        for text in texts:
            if len(self._examples) == PROFILE_EXAMPLES:
                return
            if (key := _key(text)) not in self._examples:
                self._examples.append(key)

    def _merge(self, into: dict[str, int], counts: Iterable[tuple[str, int]]) -> None:
        known = into.get
        for text, count in counts:
            into[text] = known(text, 0) + count

    def _estimate_from_now_on(self) -> None:
        assert self._exact is not None
        if self._exact:
            self._merge_hashes(hashes_of(pa.array(self._exact.keys(), pa.string())))
        self._counters, self._exact = self._exact, None
        self._reduce()

    def _merge_hashes(self, hashes: pa.Array) -> None:
        if len(self._smallest) == HASHES:
            hashes = hashes.filter(pc.less(hashes, self._smallest[-1]))
        if len(hashes):
            both = pc.unique(pa.concat_arrays([self._smallest, hashes]))
            self._smallest = both.take(pc.array_sort_indices(both)[:HASHES])

    def _summarise(self, texts: pa.Array, counts: pa.Array) -> None:
        """First down to `COUNTERS` counters inside the batch, by Arrow; then the two become one."""
        if len(texts) > COUNTERS:
            place = len(counts) - COUNTERS - 1
            floor = counts[pc.partition_nth_indices(counts, pivot=place)[place].as_py()]
            above = pc.greater(counts, floor)
            texts, counts = texts.filter(above), pc.subtract(counts.filter(above), floor)
            self._missing += floor.as_py()
        self._merge(self._counters, zip(texts.to_pylist(), counts.to_pylist(), strict=True))
        if len(self._counters) > 2 * COUNTERS:
            self._reduce()

    def _reduce(self) -> None:
        if len(self._counters) > COUNTERS:
            floor = sorted(self._counters.values(), reverse=True)[COUNTERS]
            self._counters = {text: count - floor for text, count in self._counters.items() if count > floor}
            self._missing += floor


def _kept(texts: pa.Array) -> pa.Array:
    """The texts as they are counted."""
    if pc.max(pc.binary_length(texts)).as_py() <= LONG:
        return texts
    return pa.array(map(_key, texts.to_pylist()), pa.string())


def _key(text: str) -> str:
    if len(text) <= LONG:
        return text
    return f"{text[:PROFILE_TEXT]}\0{blake2b(text.encode('utf-8', 'surrogatepass'), digest_size=16).hexdigest()}"


def hashes_of(texts: pa.Array) -> pa.Array:
    """A 64-bit hash of each text, the same wherever and whenever it is computed: its words times odd numbers, mixed as splitmix64 does.
    They come in the order of the texts."""
    if len(texts) > SLICE:
        return pa.concat_arrays([hashes_of(texts[start : start + SLICE]) for start in range(0, len(texts), SLICE)])
    length = pc.cast(pc.binary_length(texts), pa.uint64())
    longest = pc.max(length).as_py()
    if longest > 64 and pc.min(length).as_py() <= 64:  # one long text must not make all wide
        short = pc.less_equal(length, pa.scalar(64, pa.uint64()))
        long = pc.invert(short)
        hashes = pc.replace_with_mask(length, short, hashes_of(texts.filter(short)))
        return pc.replace_with_mask(hashes, long, hashes_of(texts.filter(long)))
    words = max(1, -(-longest // 8))
    padded = pc.ascii_rpad(texts, 8 * words, "\0")  # a word of zeros adds nothing, so the width does not count
    data = pa.Array.from_buffers(pa.uint64(), len(texts) * words, [None, padded.buffers()[-1]], offset=padded.offset * words)
    firsts = pc.multiply(_numbers()[: len(texts)], pa.scalar(words, pa.int32()))
    total = pc.multiply(length, pa.scalar(_STEPS[0], pa.uint64()))
    for word in range(words):
        odd = _STEPS[1] * (2 * word + 1) % 2**64 ^ _STEPS[2] & ~1
        part = data.take(pc.add(firsts, pa.scalar(word, pa.int32())))
        total = pc.add(total, pc.multiply(part, pa.scalar(odd, pa.uint64())))
    for shift, step in ((30, _STEPS[1]), (27, _STEPS[2])):
        total = pc.multiply(pc.bit_wise_xor(total, pc.shift_right(total, pa.scalar(shift, pa.uint64()))), pa.scalar(step, pa.uint64()))
    return pc.bit_wise_xor(total, pc.shift_right(total, pa.scalar(31, pa.uint64())))


@cache
def _numbers() -> pa.Array:
    return pa.array(range(SLICE), pa.int32())

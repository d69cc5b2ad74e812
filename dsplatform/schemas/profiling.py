"""The profile of a column, batch by batch: counts, extremes, frequent values. Bounded memory, whatever the column holds."""

import pyarrow as pa

from dsplatform.schemas.model import ColumnProfile


class ColumnProfiler:
    """Takes the batches of one column in their order; `profile` when all were added."""

    def __init__(self) -> None:
        self._nulls = 0

    def add(self, values: pa.Array) -> None:
        """The next rows. All batches of one column have one Arrow type; a null is a row without a value."""
        self._nulls += values.null_count

    def profile(self) -> ColumnProfile:
        """What was found."""
        return ColumnProfile(nulls=self._nulls)

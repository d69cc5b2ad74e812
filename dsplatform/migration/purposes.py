"""What names the files of the legacy system, and so which of them are worth their bytes."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from dsplatform.migration.model import Key, Rule
from dsplatform.migration.source import Snapshot

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

VERSIONS = (("dataset_versions", "file_id"), ("dataset_version_files", "file_id"))
OVERLAYS = (("dataset_versions", "overlay_file_id"),)
OTHERS = (
    ("sampling_outputs", "file_id"),
    ("exploration_outputs", "file_id"),
    ("analysis_runs", "output_file_id"),
    ("sheet_metadata", "profiling_report_file_id"),
)
"""What names files and does not come along itself."""


class Purposes:
    """Answers for many files. The legacy tables have no index to look in, so a pass over all files reads once what is named, eight bytes
    for each; what was named since, the versions ask for when they come along."""

    def __init__(self, *, up_to: Key | None = None) -> None:
        self._up_to = up_to[0] if up_to else 0
        """Files up to this one are answered by one reading."""
        self._named: tuple[NDArray[np.int64], ...] | None = None

    def left(self, source: Snapshot, keys: Sequence[Key]) -> dict[Key, Rule]:
        """Those that no version names, and the rule by which they stay where they are."""
        found: dict[Key, Rule] = {}
        for ids, sets in self._answers(source, [key[0] for key in keys]):
            needed, overlays, others = sets
            for id_ in ids:
                if id_ not in needed:
                    found[(id_,)] = Rule.OVERLAY if id_ in overlays else Rule.NO_HOME if id_ in others else Rule.ORPHAN_FILE
        return found

    def _answers(self, source: Snapshot, ids: Sequence[int]) -> list[tuple[Sequence[int], tuple[set[int], ...]]]:
        read = [id_ for id_ in ids if id_ <= self._up_to]
        asked = [id_ for id_ in ids if id_ > self._up_to]
        answers: list[tuple[Sequence[int], tuple[set[int], ...]]] = []
        if read:
            import numpy as np  # it starts threads, and takes longer than most commands

            if self._named is None:
                self._named = tuple(_all(source, places) for places in (VERSIONS, OVERLAYS, OTHERS))
            wanted = np.array(read, dtype=np.int64)
            answers.append((read, tuple({int(id_) for id_ in wanted[_among(wanted, named)]} for named in self._named)))
        if asked:
            sets = tuple(
                set().union(*(source.naming(table, column, asked) for table, column in places if source.has(table, column)))
                for places in (VERSIONS, OVERLAYS, OTHERS)
            )
            answers.append((asked, sets))
        return answers


def _all(source: Snapshot, places: Sequence[tuple[str, str]]) -> "NDArray[np.int64]":
    """Every file that these columns name, once, in order."""
    import numpy as np

    parts = [np.array(source.named(table, column), dtype=np.int64) for table, column in places if source.has(table, column)]
    return np.unique(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)


def _among(wanted: "NDArray[np.int64]", ordered: "NDArray[np.int64]") -> "NDArray[np.bool_]":
    import numpy as np

    if not len(ordered):
        return np.zeros(len(wanted), dtype=np.bool_)
    at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
    found: NDArray[np.bool_] = ordered[at] == wanted
    return found

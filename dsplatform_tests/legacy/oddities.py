"""The oddities D1 to D27 and U1 of section 1.6, planted in known numbers, each in datasets of its own."""

from dsplatform_tests.legacy.rows import Rows


def plant(rows: Rows) -> None:
    """All that the generation can have."""

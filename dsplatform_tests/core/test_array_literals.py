"""Lists as array literals: what PostgreSQL reads is what was written, whatever the texts hold."""

from enum import StrEnum

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dsplatform.core.database import Database

TEXTS = (
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])) | st.text('\x1e\x1f"\\,{}N UL', max_size=6) | st.just("NULL")
)


class Colour(StrEnum):
    RED = "red"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(texts=st.lists(st.none() | TEXTS), numbers=st.lists(st.none() | st.integers(-(2**63), 2**63 - 1)))
def test_what_is_read_is_what_was_written(texts: list[str | None], numbers: list[int | None], db: Database) -> None:
    with db.autocommit() as tx:
        assert tx.scalar("SELECT CAST(:texts AS text[])", texts=texts) == texts
        assert tx.scalar("SELECT CAST(:numbers AS bigint[])", numbers=numbers) == numbers
        assert tx.scalar("SELECT CAST(:words AS text[])", words=[Colour.RED, None, "x"]) == ["red", None, "x"]

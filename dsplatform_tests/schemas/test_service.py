"""Schemas of versions: captured once per content, kept per version, compared."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from dsplatform.bootstrap import Platform
from dsplatform.core.domain import Actor
from dsplatform.core.errors import NotFound
from dsplatform.core.types import FilePath, VersionId
from dsplatform.core.values import DatasetRef
from dsplatform.schemas import capturing
from dsplatform.schemas import service as module
from dsplatform.schemas.capturing import SchemaNotCaptured
from dsplatform.schemas.comparing.comparison import Verdict
from dsplatform.schemas.model import FileCapture, Status
from dsplatform.schemas.sandbox import Request, Sandbox
from dsplatform_tests import make


@pytest.fixture
def dataset(platform: Platform, system: Actor) -> DatasetRef:
    """An empty dataset."""
    with platform.db.transaction() as tx:
        return platform.datasets.ensure(tx, system, "sales")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that were really read."""
    names: list[str] = []
    extract = Sandbox.extract

    def listen(self: Sandbox, requests: Sequence[Request]) -> list[FileCapture]:
        names.extend(request.name for request in requests)
        return extract(self, requests)

    monkeypatch.setattr(Sandbox, "extract", listen)
    return names


class Commits:
    """Makes versions of texts."""

    def __init__(self, platform: Platform, system: Actor, dataset: DatasetRef, folder: Path) -> None:
        self._platform, self._system, self._dataset, self._folder = platform, system, dataset, folder

    def __call__(self, *, remove: Sequence[str] = (), **files: str) -> VersionId:
        """`orders_csv="a,b\\n1,2\\n"` is the component orders.csv."""
        sources = {}
        for key, text in files.items():
            name = key.replace("_", ".")
            path = self._folder / name
            path.write_text(text)
            sources[name] = path
        return self._platform.versions.create_version(self._system, self._dataset, sources, remove=remove).version_id


@pytest.fixture
def commit(platform: Platform, system: Actor, dataset: DatasetRef, tmp_path: Path) -> Commits:
    """Commits files as the next version."""
    return Commits(platform, system, dataset, tmp_path)


def test_a_version_gets_the_schema_of_each_of_its_files(platform: Platform, commit: Commits) -> None:
    version = commit(orders_csv="id,price\n007,1.5\n008,\n", stock_jsonl='{"sku": "x"}\n', empty_bin="\x00\x01", bad_json="[1,")
    summary = platform.schemas.capture_version_schema(version)
    assert (summary.rows, summary.columns, summary.unreadable, summary.changed) == (3, 2, 1, True)
    schema = platform.schemas.schema_of(*make.of(platform, version))
    assert {item.name: item.status for item in schema.components} == {
        "orders.csv": Status.OK,
        "stock.jsonl": Status.OK,
        "empty.bin": Status.OPAQUE,
        "bad.json": Status.UNREADABLE,
    }
    assert sorted(platform.schemas.columns(*make.of(platform, version))) == [
        ("orders.csv: id", "string", False),
        ("orders.csv: price", "float64", True),
        ("stock.jsonl: sku", "string", False),
    ]
    with platform.db.transaction() as tx:
        figures = platform.schemas.figures(tx, version)
    assert figures == {
        FilePath("orders.csv"): (2, 2),
        FilePath("stock.jsonl"): (1, 1),
        FilePath("empty.bin"): (None, 0),
        FilePath("bad.json"): (None, 0),
    }


def test_the_same_bytes_are_read_once(platform: Platform, commit: Commits, asked: list[str]) -> None:
    first = commit(a_csv="x,y\n1,2\n", b_csv="x,y\n1,2\n", c_csv="x,y\n3,4\n")
    platform.schemas.capture_version_schema(first)
    assert len(asked) == 2
    second = commit(d_csv="x,y\n1,2\n", e_csv="x,y\n5,6\n")
    summary = platform.schemas.capture_version_schema(second)
    assert asked[2:] == ["e.csv"]
    assert summary.rows == 5


def test_the_same_bytes_under_another_ending_are_read_again(platform: Platform, commit: Commits, asked: list[str]) -> None:
    platform.schemas.capture_version_schema(commit(a_csv="one column\nof words\n"))
    version = commit(remove=["a.csv"], a_log="one column\nof words\n")
    platform.schemas.capture_version_schema(version)
    assert asked == ["a.csv", "a.log"]
    assert [item.status for item in platform.schemas.schema_of(*make.of(platform, version)).components] == [Status.OPAQUE]


def test_capturing_again_reads_nothing_and_answers_the_same(platform: Platform, commit: Commits, asked: list[str]) -> None:
    version = commit(a_csv="x,y\n1,2\n")
    assert platform.schemas.capture_version_schema(version) == platform.schemas.capture_version_schema(version)
    assert asked == ["a.csv"]


def test_captures_of_newer_readers_replace_the_old(
    platform: Platform, commit: Commits, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    version = commit(a_csv="x,y\n1,2\n")
    platform.schemas.capture_version_schema(version)
    monkeypatch.setattr(module, "READER_VERSION", "next")
    monkeypatch.setattr(capturing, "READER_VERSION", "next")
    platform.schemas.capture_version_schema(version)
    assert asked == ["a.csv", "a.csv"]


def test_many_files_are_read_in_chunks(platform: Platform, commit: Commits, asked: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CHUNK", 2)
    version = commit(**{f"f{number}_csv": f"x,y\n{number},2\n" for number in range(5)})
    assert platform.schemas.capture_version_schema(version).rows == 5
    assert sorted(asked) == [f"f{number}.csv" for number in range(5)]


def test_a_committed_version_waits_until_it_is_captured(platform: Platform, commit: Commits) -> None:
    version = commit(a_csv="x,y\n1,2\n")
    assert platform.schemas.pending(10) == []
    platform.deliver()
    assert platform.schemas.pending(10) == [version]
    with pytest.raises(SchemaNotCaptured, match=f"version {version} is not captured yet"):
        platform.schemas.schema_of(*make.of(platform, version))
    with platform.db.transaction() as tx:
        assert platform.schemas.figures(tx, version) is None
    platform.schemas.capture_version_schema(version)
    assert platform.schemas.pending(10) == []


def test_an_announcement_after_the_capture_changes_nothing(platform: Platform, commit: Commits) -> None:
    version = commit(a_csv="x,y\n1,2\n")
    platform.schemas.capture_version_schema(version)
    platform.deliver()
    assert platform.schemas.pending(10) == []
    assert platform.schemas.schema_of(*make.of(platform, version)).rows == 1


def test_a_version_that_nobody_announced_is_not_forgotten(platform: Platform, commit: Commits) -> None:
    old, announced = commit(a_csv="x,y\n1,2\n"), commit(a_csv="x,y\n1,3\n")
    with platform.db.transaction() as tx:
        tx.execute("DELETE FROM deliveries WHERE (payload->>'version_id')::bigint = :id", id=old)
    platform.deliver()
    assert platform.schemas.pending(10) == [announced]
    with make.tampering(platform.db) as tx:
        tx.execute("UPDATE dataset_versions SET created_at = created_at - interval '2 minutes' WHERE id = :id", id=old)
    assert platform.schemas.pending(10) == [old, announced]
    assert platform.schemas.pending(1) == [old]


def test_only_a_change_of_the_columns_counts_as_changed(platform: Platform, commit: Commits) -> None:
    versions = [
        commit(a_csv="x,y\n1,2\n"),
        commit(a_csv="x,y\n1,2\n3,4\n"),
        commit(b_csv="x,y\n7,8\n"),
        commit(a_csv="x,y,z\n1,2,w\n"),
        commit(a_csv="x,z\n1,w\n"),
    ]
    assert [platform.schemas.capture_version_schema(version).changed for version in versions] == [True, False, False, True, True]
    assert platform.schemas.change(*make.of(platform, versions[0])) is None
    change = platform.schemas.change(*make.of(platform, versions[3]))
    assert change is not None
    assert change.sentences() == ["a.csv: column 'z' (string) was added"]
    assert platform.schemas.compare(*make.of(platform, versions[3]), versions[4]).verdict is Verdict.BREAKING
    assert platform.schemas.compare(*make.of(platform, versions[0]), versions[1]).verdict is Verdict.IDENTICAL


def test_names_that_postgres_cannot_hold_are_stored_with_a_replacement(platform: Platform, commit: Commits) -> None:
    version = commit(a_csv="x\x00,y\n1,2\n")
    platform.schemas.capture_version_schema(version)
    assert [name for name, _, _ in platform.schemas.columns(*make.of(platform, version))] == ["x\ufffd", "y"]


def test_a_version_of_another_dataset_is_as_one_that_does_not_exist(
    platform: Platform, commit: Commits, system: Actor, dataset: DatasetRef
) -> None:
    with pytest.raises(NotFound, match="version 999 does not exist"):
        platform.schemas.capture_version_schema(VersionId(999))
    version = commit(a_csv="x,y\n1,2\n")
    platform.schemas.capture_version_schema(version)
    other = make.dataset(platform, "other")
    questions: list[Callable[[DatasetRef, VersionId], object]] = [
        lambda of, wanted: platform.schemas.schema_of(system, of, wanted),
        lambda of, wanted: platform.schemas.columns(system, of, wanted),
        lambda of, wanted: platform.schemas.change(system, of, wanted),
        lambda of, wanted: platform.schemas.semver(system, of, wanted),
        lambda of, wanted: platform.schemas.unreadable(system, of, wanted),
        lambda of, wanted: platform.schemas.profiles(system, of, wanted),
        lambda of, wanted: platform.schemas.profile_of_each_layout(system, of, wanted, 10),
        lambda of, wanted: platform.schemas.compare(system, of, wanted, version),
        lambda of, wanted: platform.schemas.compare(system, of, version, wanted, before_in=dataset),
        lambda of, wanted: platform.contracts.learn(system, of, wanted),
        lambda of, wanted: platform.contracts.check(system, of, wanted),
    ]
    for question in questions:
        question(dataset, version)
        for of, wanted in ((other, version), (dataset, VersionId(999)), (other, VersionId(999))):
            with pytest.raises(NotFound, match=f"dataset '{of.slug}' has no version with the id {wanted}") as caught:
                question(of, wanted)
            assert caught.value.code == "version_missing"


def test_a_file_is_read_without_being_stored(platform: Platform, tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_text("a,b\n1,2\n")
    capture = platform.schemas.extract_schema(path, "orders.csv")
    assert (capture.status, capture.rows) == (Status.OK, 1)


def test_column_changes_are_told_of_pairs_whose_contents_were_read(platform: Platform, commit: Commits) -> None:
    first = commit(a_csv="id,x\n1,2\n", empty_csv="id,x\n1,\n", bad_json="{", text_csv="k\n1\n")
    second = commit(a_csv="id,y\n1,2\n", empty_csv="id,x\n1,3\n", bad_json="[", text_csv="k\nq\n")
    with platform.db.transaction() as tx:
        old, new = (platform.versions.components(tx, version) for version in (first, second))
        pairs = list(zip(old, new, strict=True))
        assert platform.schemas.column_changes(tx, first, second, pairs) == []
    platform.schemas.capture_version_schema(first)
    with platform.db.transaction() as tx:
        assert platform.schemas.column_changes(tx, first, second, pairs) == []  # one side alone says nothing
    platform.schemas.capture_version_schema(second)
    with platform.db.transaction() as tx:
        assert {tuple(change.plain().values()) for change in platform.schemas.column_changes(tx, first, second, pairs)} == {
            ("a.csv", None, "y", None, "int64"),
            ("a.csv", None, "x", "int64", None),
            ("empty.csv", None, "x", "null", "int64"),
            ("text.csv", None, "k", "int64", "string"),
        }
        assert platform.schemas.column_changes(tx, first, second, pairs[3:])[0].component == "text.csv"
        assert platform.schemas.column_changes(tx, first, second, []) == []


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (2, 0, 3, 1)])
def test_each_version_has_its_number_in_whatever_order_they_are_captured(
    platform: Platform, commit: Commits, dataset: DatasetRef, system: Actor, order: tuple[int, ...]
) -> None:
    texts = ("id,x\n1,2\n", "id,x\n2,2\n", "id,x,y\n1,2,3\n", "id,y\n1,4\n")
    versions = [commit(a_csv=text) for text in texts]
    for index in order:
        platform.schemas.capture_version_schema(versions[index])
    steps = platform.schemas.history(system, dataset)
    assert [(step.version, step.semver, step.verdict) for step in steps] == [
        (1, "1.0.0", None),
        (3, "1.1.0", Verdict.COMPATIBLE),
        (4, "2.0.0", Verdict.BREAKING),
    ]
    assert platform.schemas.semver(*make.of(platform, versions[1])).semver == "1.0.1"


def test_a_version_whose_schema_is_not_captured_makes_the_number_uncertain(platform: Platform, commit: Commits) -> None:
    versions = [commit(a_csv="id\n1\n"), commit(a_csv="id\n2\n"), commit(a_csv="id\n3\n")]
    platform.schemas.capture_version_schema(versions[0])
    platform.schemas.capture_version_schema(versions[2])
    assert platform.schemas.semver(*make.of(platform, versions[0])).certain
    assert not platform.schemas.semver(*make.of(platform, versions[2])).certain
    platform.schemas.capture_version_schema(versions[1])
    assert platform.schemas.semver(*make.of(platform, versions[2])).certain


def test_a_dataset_s_hint_decides_and_has_what_was_captured_before_read_again(platform: Platform, commit: Commits) -> None:
    version = commit(a_csv="day\n01/02/2024\n")
    platform.schemas.capture_version_schema(version)
    assert platform.schemas.columns(*make.of(platform, version)) == [("day", "string", False)]
    assert platform.schemas.outdated(None, 10) == []
    with platform.db.transaction() as tx:
        tx.execute(
            "INSERT INTO reading_hints (dataset_id, hints) SELECT dataset_id, CAST(:hints AS jsonb) FROM dataset_versions WHERE id = :id",
            hints='{"date_order": "dmy"}',
            id=version,
        )
    slug = platform.versions.label(version)[0].slug
    assert platform.schemas.outdated("another", 10) == []
    assert platform.schemas.outdated(slug, 10) == [version]
    platform.schemas.capture_version_schema(version)
    assert platform.schemas.columns(*make.of(platform, version)) == [("day", "date", False)]
    assert platform.schemas.outdated(slug, 10) == []


def test_profiles_are_told_of_what_was_read(platform: Platform, commit: Commits) -> None:
    version = commit(a_csv="id,x\n1,2\n2,\n", b_csv="k\nv\n", bad_json="{")
    assert platform.schemas.profiles(*make.of(platform, version)) == {}
    platform.schemas.capture_version_schema(version)
    found = platform.schemas.profiles(*make.of(platform, version))
    assert {key: [column.nulls for column in columns] for key, columns in found.items()} == {("a.csv", None): [0, 1], ("b.csv", None): [0]}

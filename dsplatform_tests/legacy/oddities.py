"""The oddities D1 to D27 and U1 of section 1.6, planted in known numbers, nearly all in datasets of their own.

`Rows.planted` then holds, for each, exactly the rows that fit its definition, so that counts can be compared.
"""

import datetime as dt
from collections.abc import Callable

from dsplatform_tests.legacy import content
from dsplatform_tests.legacy.ddl import Generation
from dsplatform_tests.legacy.rows import OLD_MOUNT, Row, Rows

G0, G1A, G1B, G2 = Generation.G0, Generation.G1A, Generation.G1B, Generation.G2
G1 = {G1A, G1B}

ODD_NAMES = (
    "n" * 255,
    "a/b\\c",
    "../../etc/passwd",
    "naïve 😀 \u202ecod",
    "  spaced  ",
    "",
    "tab\tand\nnewline",
    "-rf",
    "%2e%2e",
    "e\u0301te\u0301",
)
ODD_POINTERS = ("feature/x/y", "b" * 255, "release candidate", "..", "-x", "HEAD~1^", "größe", "v1.0/rc")
NO_HASHES = ("Summer2019!", "5baa61e4c9b93f3f0682250b6cf8331b7ee68fd8", "", "$2b$12$tooshort")
GAP = dt.datetime(2021, 3, 28, 2, 30)  # noqa: DTZ001  no clock in Berlin showed this
TWICE = dt.datetime(2021, 10, 31, 2, 30)  # noqa: DTZ001  each clock in Berlin showed this two times


def plant(rows: Rows) -> None:
    """All that the generation can have. Some are in nearly every row of such a system; these come last."""
    for oddity, generations in _ODDITIES.items():
        if rows.generation in generations:
            oddity(rows)
    _everywhere(rows)


def _same_name(rows: Rows) -> None:
    """D1. In G2 name and owner are unique together, unless there is no owner."""
    for number in range(3):
        owner = rows.anyone()
        pair = [rows.plain(f"same name {number}", owner)[0] for _ in range(2)]
        rows.plant("D1", "datasets", *pair)
        if rows.generation == G2:
            _ownerless(rows, *pair)


def _copies(rows: Rows) -> None:
    """D2, with D1, D3 and D4: a new version that became a dataset of its own, whose creator has no right to it."""
    for number in range(3):
        owner = rows.anyone()
        original, versions = rows.plain(f"copied {number}", owner, versions=2)
        copy = rows.dataset(original["name"], owner, admin=False)
        parent, first = (versions[-1], 3) if rows.branching else (None, 1)
        version = rows.version(copy, parent, number=first)
        rows.plant("D2", "datasets", copy)
        rows.plant("D1", "datasets", original, copy)
        if rows.branching:
            rows.pointer(copy, "main", version)
            rows.plant("D3", "datasets", copy)
            rows.plant("D4.parent", "dataset_versions", version)
            rows.plant("D4.first", "dataset_versions", version)


def _unreadable(rows: Rows) -> None:
    """D3: datasets that nobody may read."""
    for number in range(3):
        dataset = rows.dataset(f"unreadable {number}", admin=False)
        version = rows.version(dataset)
        if rows.branching:
            rows.pointer(dataset, "main", version)
        rows.plant("D3", "datasets", dataset)


def _foreign_parents(rows: Rows) -> None:
    """D4: a parent that the client named, in another dataset."""
    for number in range(2):
        _, versions = rows.plain(f"parent of others {number}")
        dataset, own = rows.plain(f"with a foreign parent {number}")
        rows.plant("D4.parent", "dataset_versions", rows.version(dataset, versions[0]))
        rows.pointer(dataset, "second", own[0])
    dataset = rows.dataset("starts at five")
    version = rows.version(dataset, number=5)
    rows.pointer(dataset, "main", version)
    rows.plant("D4.first", "dataset_versions", version)


def _empty(rows: Rows) -> None:
    """D5."""
    rows.plant("D5", "datasets", *(rows.dataset(f"empty {number}") for number in range(3)))


def _gaps(rows: Rows) -> None:
    """D6."""
    for number in range(3):
        dataset, versions = rows.plain(f"with gaps {number}", versions=2)
        rows.version(dataset, versions[-1] if rows.branching else None, number=5 + number)
        rows.plant("D6", "datasets", dataset)


def _roots(rows: Rows) -> None:
    """D7."""
    for number in range(3):
        dataset = rows.dataset(f"with roots {number}")
        roots = [rows.version(dataset) for _ in range(2)]
        rows.pointer(dataset, "main", rows.version(dataset, roots[-1]))
        rows.plant("D7", "datasets", dataset)


def _no_main(rows: Rows) -> None:
    """D8: no pointer at all, or another branch, or a tag of that name."""
    for number in range(3):
        dataset = rows.dataset(f"without pointers {number}")
        rows.version(dataset, rows.version(dataset))
        rows.plant("D8.none", "datasets", dataset)
    for name, tag in (("Main", False), ("import", False), ("main", True)):
        dataset = rows.dataset(f"without main {name} {tag}")
        rows.pointer(dataset, name, rows.version(dataset), tag=tag)
        rows.plant("D8.other", "datasets", dataset)


def _foreign_pointers(rows: Rows) -> None:
    """D9."""
    _, versions = rows.plain("pointed at from outside")
    dataset, _ = rows.plain("pointing outside")
    for name, tag in (("develop", rows.generation == G2), ("next", rows.generation == G2), ("release", True)):
        rows.plant("D9", "version_tags" if rows.generation == G2 else "dataset_pointers", rows.pointer(dataset, name, versions[0], tag=tag))


def _no_primary(rows: Rows) -> None:
    """D10: an attachment and nothing else, or the data under another name."""
    for number in range(3):
        dataset, versions = rows.plain(f"no primary {number}")
        notes = rows.file(dataset["id"], rows.next_version_id)
        version = rows.version(dataset, versions[0] if rows.branching else None, file=None if rows.branching else notes, main=False)
        rows.component(version, notes, "attachment", "notes", 1)
        rows.plant("D10.attached", "dataset_versions", version)
    for name in ("data", None):
        dataset = rows.dataset(f"primary named {name}")
        file = rows.file(dataset["id"], rows.next_version_id)
        version = rows.version(dataset, file=file, main=False)
        rows.component(version, file, "primary", name)
        if rows.branching:
            rows.pointer(dataset, "main", version)
        rows.plant("D10.named", "dataset_versions", version)


def _half_deleted(rows: Rows) -> None:
    """D11: the rows of the files went, then a foreign key kept the version, or all the versions of a dataset."""
    for number in range(3):
        dataset, versions = rows.plain(f"half deleted {number}")
        version = rows.version(dataset, versions[0], main=False)
        rows.schema(version)
        rows.plant("D11", "dataset_versions", version)
    dataset = rows.dataset("half deleted as a whole")
    first = rows.version(dataset, main=False)
    second = rows.version(dataset, first, main=False)
    rows.pointer(dataset, "main", second)
    rows.plant("D11", "dataset_versions", first, second)


def _orphan_files(rows: Rows) -> None:
    """D12: rows that nothing refers to, some in the temporary folder; files that no row names."""
    for _ in range(3):
        rows.plant("D12.row", "files", rows.file(1, 900_001))
        rows.plant("D12.temp", "files", rows.file(1, 900_001, content.parquet(rows.rng.getrandbits(40)), temp=True))
        for name in (f"1/900001/1_900001_{rows.rng.getrandbits(64):x}", f"1/temp/1_temp_{rows.rng.getrandbits(64):x}"):
            path = rows.folder / "datasets" / f"{name}.parquet"
            rows.store(path, content.parquet(rows.rng.getrandbits(40)))
            rows.stray.append(path)


def _lone(rows: Rows, name: str, *, data: bytes | None = None, write: bool = True) -> Row:
    """The file of a dataset with one version. Its bytes are its own also where others share theirs."""
    dataset = rows.dataset(name)
    data = content.parquet(rows.rng.getrandbits(40)) if data is None else data
    file = rows.file(dataset["id"], rows.next_version_id, data, write=write)
    version = rows.version(dataset, file=file)
    if rows.branching:
        rows.pointer(dataset, "main", version)
    return file


def _paths(rows: Rows) -> None:
    """D13."""
    base = str(rows.folder)
    for number in range(3):
        rows.plant("D13.missing", "files", _lone(rows, f"missing {number}", write=False))
        for kind, start in (("old_mount", OLD_MOUNT), ("uri", f"file://{base}"), ("relative", "")):
            file = _lone(rows, f"{kind} {number}")
            file["file_path"] = (start + file["file_path"].removeprefix(base)).removeprefix("" if start else "/")
            rows.plant(f"D13.{kind}", "files", file)


def _inline(rows: Rows) -> None:
    """D14: neither bytes nor a path, only bytes, or both, when the bytes are what counts. G2 has no column for bytes."""
    for number in range(3):
        file = _lone(rows, f"without bytes {number}", write=False)
        file["file_path"] = None
        rows.plant("D14.neither", "files", file)
    if rows.generation == G2:
        return
    for number in range(3):
        data = content.parquet(rows.rng.getrandbits(40))
        file = _lone(rows, f"inline {number}", data=data, write=False)
        file |= {"file_path": None, "file_data": data, "storage_type": "database"}
        rows.plant("D14.inline", "files", file)
    data = content.parquet(rows.rng.getrandbits(40))
    file = _lone(rows, "inline and on disk")
    file |= {"file_data": data, "file_size": len(data)}
    rows.plant("D14.both", "files", file)


def _hashes(rows: Rows) -> None:
    """D15, in G2."""
    for number in range(3):
        unhashed, uncounted, wrong = (_lone(rows, f"{kind} {number}") for kind in ("unhashed", "uncounted", "wrongly hashed"))
        unhashed["content_hash"], uncounted["reference_count"], wrong["content_hash"] = None, 0, f"{rows.rng.getrandbits(256):064x}"
        rows.plant("D15.null", "files", unhashed)
        rows.plant("D15.count", "files", uncounted)
        rows.plant("D15.wrong", "files", wrong)


def _conversions(rows: Rows) -> None:
    """D19, D20: what the conversion of an upload lost."""
    for number in range(3):
        dataset, versions = rows.plain(f"workbook {number}")
        if rows.sheets:
            version = rows.version(dataset, versions[0] if rows.branching else None, sheet=False)
            rows.plant("D19", "sheets", rows.sheet(version, f"workbook {number}", "xlsx"))
        else:
            book = rows.file(dataset["id"], versions[0]["id"])
            made = rows.component(versions[0], book, "attachment", "book", 1, {"original_filename": f"book {number}.xlsx"})
            rows.plant("D19", "dataset_version_files", made)
    rows.plant("D20.empty", "files", _lone(rows, "from an empty file", data=content.empty_source()))
    rows.plant("D20.doubled", "files", *(_lone(rows, f"doubled header {n}", data=content.doubled_header(n)) for n in range(2)))


def _sheets(rows: Rows) -> None:
    """D18, and sheets that could not be parsed."""
    for number in range(3):
        dataset, versions = rows.plain(f"without sheets {number}")
        parent = versions[0] if rows.branching else None
        rows.plant("D18", "dataset_versions", rows.version(dataset, parent, sheet=False))
        version = rows.version(dataset, parent, sheet=False)
        sheet = rows.sheet(version, f"broken {number}.csv", "csv")
        sheet["description"] = "Error parsing file"
        rows.tables["sheet_metadata"][-1]["metadata"] = {"error": "could not be parsed", "file_type": "csv"}
        rows.plant("sheet_error", "sheets", sheet)


def _labels(rows: Rows) -> None:
    """D21."""
    dataset, _ = rows.plain("labelled")
    for names in (("Finance", "finance", " finance"), ("Q1 report", "q1 Report ")):
        for name in names:
            tag = rows.label(name)
            rows.labelled(dataset, tag)
            rows.plant("D21.case", "tags", tag)
    if rows.generation != G2:
        for number in range(3):
            tag = rows.label(f"undescribed {number}", None)
            rows.labelled(dataset, tag)
            rows.plant("D21.null", "tags", tag)


def _permissions(rows: Rows) -> None:
    """D22, D23."""
    dataset, versions = rows.plain("with permissions")
    outsiders = [rows.user(rows.tables["roles"][2]) for _ in range(4)]
    for number, user in enumerate(outsiders[:3]):
        kind = "file" if number == 2 else "dataset"
        rows.plant("D22.resource", "permissions", rows.permission(900_001 + number, user, "read", kind))
        rows.plant("D22.type", "permissions", rows.permission(dataset["id"], user, ("owner", "READ", "")[number]))
    for user, levels in zip(outsiders, (("read", "write"), ("read", "write", "admin"), ("write", "admin")), strict=False):
        other, _ = rows.plain(f"several levels {levels[-1]} {len(levels)}")
        rows.plant("D23.levels", "permissions", *(rows.permission(other["id"], user, level) for level in levels))
    rows.grant(dataset, outsiders[3], "admin")
    rows.plant("D23.tables", "permissions", rows.permission(dataset["id"], outsiders[3], "read"))
    rows.permission(versions[0]["file_id"], outsiders[3], "read", "file")


def _ownerless(rows: Rows, *datasets: Row) -> None:
    for dataset in datasets:
        dataset["created_by"] = None
    rows.plant("D24.dataset", "datasets", *datasets)


def _no_people(rows: Rows) -> None:
    """D24."""
    for number in range(3):
        dataset, versions = rows.plain(f"without people {number}")
        _ownerless(rows, dataset)
        versions[0]["created_by"] = None
        rows.plant("D24.version", "dataset_versions", versions[0])
        run = rows.add(
            "analysis_runs",
            dataset_version_id=versions[0]["id"],
            user_id=None,
            run_type="profiling",
            run_parameters={},
            run_timestamp=rows.now(),
        )
        run["status"] = "failed"
        rows.plant("D24.run", "analysis_runs", run)


def _states(rows: Rows) -> None:
    """D25: the newest version of a dataset, or one that a tag names."""
    for status in ("archived", "deleted"):
        for number in range(3):
            dataset, versions = rows.plain(f"{status} {number}", versions=2)
            version = versions[number % 2]
            version["status"] = status
            rows.pointer(dataset, "kept", version, tag=True)
            rows.plant(f"D25.{status}", "dataset_versions", version)


def _clock_changes(rows: Rows) -> None:
    """D26: times that do not exist, and times that exist twice, in the server's zone."""
    for kind, moment in (("gap", GAP), ("twice", TWICE)):
        for number in range(3):
            _, versions = rows.plain(f"{kind} {number}")
            for column in ("ingestion_timestamp", "last_updated_timestamp", "created_at", "updated_at"):
                versions[0][column] = moment + dt.timedelta(minutes=number)
            rows.plant(f"D26.{kind}", "dataset_versions", versions[0])


def _names(rows: Rows) -> None:
    """D27."""
    rows.plant("D27.dataset", "datasets", *(_named(rows, name) for name in ODD_NAMES))
    if rows.generation != G0:
        dataset, versions = rows.plain("with odd pointers")
        table = "version_tags" if rows.generation == G2 else "dataset_pointers"
        tags = {"v1.0/rc"} if rows.branching else set(ODD_POINTERS)
        rows.plant("D27.pointer", table, *(rows.pointer(dataset, name, versions[0], tag=name in tags) for name in ODD_POINTERS))


def _named(rows: Rows, name: str) -> Row:
    dataset, _ = rows.plain("replaced")
    dataset["name"] = name
    return dataset


def _passwords(rows: Rows) -> None:
    """U1."""
    for value in NO_HASHES:
        user = rows.user(rows.tables["roles"][1], password_hash=value)
        rows.plain(f"of user {user['id']}", user)
        rows.plant("U1", "users", user)


def _everywhere(rows: Rows) -> None:
    """D15 where the columns were never filled, D16, D17, D18: what such a system has in nearly all its rows."""
    versions = rows.tables["dataset_versions"]
    with_schema = {row["dataset_version_id"] for row in rows.tables["dataset_schema_versions"]}
    if rows.generation in {G1A, G1B, G2}:
        rows.plant("D17", "dataset_versions", *(row for row in versions if row["id"] not in with_schema))
    if rows.generation in {G1B, G2}:
        rows.plant("D18", "dataset_versions", *versions)
    if rows.generation == G2:
        overlays = {row["overlay_file_id"] for row in versions}
        rows.plant("D16", "files", *(row for row in rows.tables["files"] if row["id"] in overlays))
    elif rows.phase_1:
        rows.plant("D15.null", "files", *rows.tables["files"])
        rows.plant("D15.count", "files", *rows.tables["files"])


_ODDITIES: dict[Callable[[Rows], None], set[Generation]] = {
    _same_name: {G0, *G1, G2},
    _copies: {G0, *G1},
    _unreadable: {*G1, G2},
    _foreign_parents: G1,
    _empty: {G0, *G1, G2},
    _gaps: {G0, *G1, G2},
    _roots: G1,
    _no_main: G1,
    _foreign_pointers: {*G1, G2},
    _no_primary: {*G1, G2},
    _half_deleted: G1,
    _orphan_files: {G0, *G1, G2},
    _paths: {G0, *G1, G2},
    _inline: {G0, *G1, G2},
    _hashes: {G2},
    _conversions: {G0, *G1, G2},
    _sheets: {G0, G1A},
    _labels: {G0, *G1, G2},
    _permissions: G1,
    _no_people: {G2},
    _states: {G2},
    _clock_changes: {G0, *G1, G2},
    _names: {G0, *G1, G2},
    _passwords: {G0, *G1, G2},
}

import io
from typing import Any

import pytest
from fastapi import HTTPException
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.api import forms
from dsplatform.bootstrap import Platform
from dsplatform.core.values import DatasetRef
from dsplatform_tests import make, strategies

BOUNDARY = "b0undary"
TYPE = f"multipart/form-data; boundary={BOUNDARY}"


class Pieces(io.RawIOBase):
    """A body that comes in pieces of these sizes, over and over."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data = io.BytesIO(data)
        self._sizes = sizes
        self._at = 0

    def read(self, size: int = -1) -> bytes:
        self._at += 1
        return self._data.read(min(size, self._sizes[self._at % len(self._sizes)]))


def form(files: dict[str, bytes], boundary: str = BOUNDARY) -> bytes:
    parts = []
    for name, data in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="files"; filename="{name}"\r\nContent-Type: text/csv\r\n\r\n'
        parts += [head.encode(), data, b"\r\n"]
    return b"".join([*parts, f"--{boundary}--\r\n".encode()])


def read(data: bytes, sizes: list[int] | None = None, kind: str = TYPE) -> dict[str, bytes]:
    source: Any = Pieces(data, sizes or [1 << 20])
    found = {}
    for part in forms.parts(source, kind):
        pieces = []
        while piece := part.source.read(1000):
            pieces.append(piece)
        found[part.name] = b"".join(pieces)
    return found


nasty = st.one_of(
    st.binary(max_size=3000),
    st.lists(st.sampled_from([b"\r\n", b"--", BOUNDARY.encode(), b"\r\n--", b"\r", b"\n", b"x"]), max_size=30).map(b"".join),
).filter(lambda data: f"\r\n--{BOUNDARY}".encode() not in b"\r\n" + data)


@given(st.dictionaries(strategies.component_names, nasty, min_size=1), st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_any_files_in_any_pieces_come_out_as_they_went_in(files: dict[str, bytes], sizes: list[int]) -> None:
    assert read(form(files), sizes) == files


@given(st.binary(max_size=500), st.integers(0, 500))
def test_what_breaks_off_or_is_none_is_refused(data: bytes, cut: int) -> None:
    whole = form({"a": data})
    with pytest.raises(HTTPException) as refused:
        read(whole[: min(cut, len(whole) - 4)])
    assert refused.value.status_code == 400


@pytest.mark.parametrize(
    "kind", ["", "text/plain", "multipart/form-data", "multipart/mixed; boundary=x", "multipart/form-data; boundary=" + "x" * 71]
)
def test_a_body_of_another_type_is_refused(kind: str) -> None:
    with pytest.raises(HTTPException) as refused:
        read(form({"a": b""}), kind=kind)
    assert refused.value.status_code == 415


def test_a_field_that_is_no_file_is_refused() -> None:
    body = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="message"\r\n\r\nhello\r\n--{BOUNDARY}--\r\n'.encode()
    with pytest.raises(HTTPException) as refused:
        read(body)
    assert refused.value.status_code == 422
    assert "parameter of the query" in refused.value.detail


def test_too_many_parts_and_too_large_headers_are_refused() -> None:
    """T52."""
    assert len(read(form({str(number): b"" for number in range(forms.MOST_PARTS)}))) == forms.MOST_PARTS
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="a"; filename="a"\r\n'.encode()
    large = head + b"X-Long: " + b"x" * (1 << 20) + b"\r\n\r\n1\r\n" + f"--{BOUNDARY}--\r\n".encode()
    many = head + b"X: 1\r\n" * 100_000 + b"\r\n1\r\n" + f"--{BOUNDARY}--\r\n".encode()
    for body in (form({str(number): b"" for number in range(100_000)}), large, many):
        with pytest.raises(HTTPException) as refused:
            read(body)
        assert refused.value.status_code in {400, 413}


# --- the route -------------------------------------------------------------------------------------------------------------------


def test_several_files_are_one_version(as_user: Any, platform: Platform) -> None:
    ada: TestClient = as_user("ada")
    files = {"2026/a.csv": b"a\n1\n", "ä.csv": b"x" * 3_000_000, "empty": b""}
    answer = ada.post("/api/v1/datasets/sales/versions?create=true&message=all", files=[("files", item) for item in files.items()])
    assert answer.status_code == 201, answer.text
    body = answer.json()
    assert [one["name"] for one in body["components"]] == list(files)
    sales = platform.datasets.open(platform.actor(), "sales")
    assert make.held(platform, sales) == files
    make.assert_sound(platform)


@pytest.mark.parametrize("names", [["a", "a"], ["e\u0301", "\u00e9"], ["a", "../b"], ["a", "b\\c"], ["a", "/b"]])
def test_one_wrong_name_and_nothing_is_kept(names: list[str], as_user: Any, platform: Platform, sales: DatasetRef) -> None:
    before = platform.versions.list_versions(platform.actor(), sales)
    sent = [("files", (name, b"x" * 400_000)) for name in names]
    answer = as_user("ada").post("/api/v1/datasets/sales/versions", files=sent)
    assert answer.status_code == 422, answer.text
    assert platform.versions.list_versions(platform.actor(), sales) == before
    make.drained(platform)
    make.assert_sound(platform)


def test_what_speaks_of_one_file_is_refused(as_user: Any, sales: DatasetRef) -> None:
    sent = [("files", ("a", b"x"))]
    for headers in ({"If-None-Match": "*"}, {"Content-Digest": "sha-256=:" + "A" * 43 + "=:"}):
        assert as_user("ada").post("/api/v1/datasets/sales/versions", files=sent, headers=headers).status_code == 400
    assert as_user("ada").post("/api/v1/datasets/sales/versions", content=b"{}").status_code == 415
    assert as_user("ada").post("/api/v1/datasets/sales/versions", content=form({}), headers={"Content-Type": TYPE}).status_code in {
        400,
        422,
    }

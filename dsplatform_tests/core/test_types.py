import unicodedata
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.errors import Invalid
from dsplatform.core.types import PermissionType, content_hash, dataset_name, file_path, pointer_name
from dsplatform_tests.strategies import words

NFC, NFD = "caf\u00e9", "cafe\u0301"
DIGEST = "0123456789abcdef" * 4


# --- hashes --------------------------------------------------------------------------------------------------------------------


def test_a_digest_is_accepted_in_either_case_and_kept_in_lower_case() -> None:
    assert content_hash(DIGEST.upper()) == content_hash(DIGEST) == DIGEST


@pytest.mark.parametrize("raw", ["", DIGEST[:-1], DIGEST + "0", DIGEST[:-1] + "g", DIGEST + "\n", " " + DIGEST[1:], "\u0660" * 64])
def test_what_is_no_sha256_is_refused(raw: str) -> None:
    with pytest.raises(Invalid, match="64 hexadecimal digits"):
        content_hash(raw)


@given(words)
def test_an_accepted_digest_is_its_own_digest(raw: str) -> None:
    accepted = _accepted(content_hash, raw)
    assert accepted is None or content_hash(accepted) == accepted


# --- component names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["a", "a.csv", "sub/folder/a.csv", "CON", "-rf", "...", "..a", "a..b", ".hidden", " a ", "a.", "100%.csv", "%2e%2e", "a:b", "🎉.csv"],
)
def test_a_component_name_is_only_data(name: str) -> None:
    assert file_path(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "relative path"),
        (".", "relative path"),
        ("..", "relative path"),
        ("../x", "relative path"),
        ("a/../b", "relative path"),
        ("a/./b", "relative path"),
        ("/etc/passwd", "relative path"),
        ("a//b", "relative path"),
        ("a/", "relative path"),
        ("a\\..\\b", "backslash"),
        ("a\x00b", r"U\+0000"),
        ("a\nb", r"U\+000A"),
        ("a\x7fb", r"U\+007F"),
        ("a\x85b", r"U\+0085"),
        ("a\u2028b", r"U\+2028"),
        ("a\ud800b", r"U\+D800"),
        ("invoice\u202efdp.exe", r"U\+202E"),
        ("a\u2066b", r"U\+2066"),
        ("a\u061cb", r"U\+061C"),
        ("a" * 1025, "1025 bytes"),
        ("é" * 513, "1026 bytes"),
    ],
)
def test_a_component_name_that_could_leave_its_folder_or_hide_something_is_refused(name: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        file_path(name)


def test_a_component_name_has_up_to_1024_bytes() -> None:
    part = "a" * 255
    assert len(file_path("/".join([part] * 4))) == 1023
    with pytest.raises(Invalid, match="1,024 in all"):
        file_path("/".join([part] * 4) + "/b")


def test_the_length_of_a_component_name_is_that_of_its_normal_form() -> None:
    assert file_path("e\u0301" * 127) == "é" * 127  # 381 bytes as it was given, 254 as it is kept


def test_two_spellings_of_one_name_are_one_name() -> None:
    assert file_path(NFD) == file_path(NFC)
    assert dataset_name(NFD) == dataset_name(NFC)
    assert pointer_name(NFD) == pointer_name(NFC)


def test_a_refused_long_name_is_not_repeated_in_full() -> None:
    with pytest.raises(Invalid) as caught:
        file_path("a" * 100_000)
    assert len(str(caught.value)) < 200


@given(words)
def test_an_accepted_component_name_is_its_own_name(raw: str) -> None:
    accepted = _accepted(file_path, raw)
    assert accepted is None or file_path(accepted) == accepted == unicodedata.normalize("NFC", raw)


@given(words)
def test_an_accepted_component_name_stays_below_its_folder(raw: str) -> None:
    accepted = _accepted(file_path, raw)
    if accepted is not None:
        joined = PurePosixPath("/home/user/out") / accepted
        assert joined.is_relative_to("/home/user/out")
        assert joined != PurePosixPath("/home/user/out")
        assert ".." not in joined.parts
        assert "/".join(joined.parts[4:]) == accepted  # no part vanishes, so two names are never one file
        accepted.encode()
        assert accepted.isprintable() or not any(unicodedata.category(char) == "Cc" for char in accepted)


@given(words)
def test_a_component_name_is_judged_alike_in_every_normal_form(raw: str) -> None:
    composed, decomposed = (_accepted(file_path, unicodedata.normalize(form, raw)) for form in ("NFC", "NFD"))
    assert composed == decomposed


# --- dataset names -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a", "sales", "Sales 2024", "a-b_c.d", "_x", "7", "données", "販売", "продажи", "a" * 128])
def test_an_ordinary_dataset_name_is_accepted(name: str) -> None:
    assert dataset_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", " ", " a", "a ", "-a", ".a", "a.", "..", "a..b", "a/b", "a\\b", "a@b", "a~2", "a:b", "a%b", "a\n", "a\nb", "a\x00", "a\tb",
        "a\u00a0b", "a\u202eb", "🎉", "../x", "/etc/passwd", "*", "a'b", "\ud800",
    ],
)  # fmt: skip
def test_a_dataset_name_that_could_be_mistaken_is_refused(name: str) -> None:
    with pytest.raises(Invalid, match="is no valid dataset name"):
        dataset_name(name)


@pytest.mark.parametrize("name", ["a" * 129, "é" * 65])
def test_a_dataset_name_has_up_to_128_bytes(name: str) -> None:
    with pytest.raises(Invalid, match=f"has {len(name.encode())} bytes: 128 at most"):
        dataset_name(name)


@given(words)
def test_an_accepted_dataset_name_is_its_own_name_and_one_safe_path_part(raw: str) -> None:
    accepted = _accepted(dataset_name, raw)
    if accepted is not None:
        assert dataset_name(accepted) == accepted
        assert PurePosixPath("/drop", accepted).parent == PurePosixPath("/drop")
        assert file_path(accepted) == accepted
        assert not {"@", "~", "/"} & set(accepted)


# --- branches and tags ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["main", "v1", "1.0", "feature/x", "a.b", "Δ", "latest2", "LATEST", "12a", "a" * 255])
def test_an_ordinary_pointer_name_is_accepted(name: str) -> None:
    assert pointer_name(name) == name


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "empty part"),
        ("/a", "empty part"),
        ("a/", "empty part"),
        ("a//b", "empty part"),
        ("./a", "empty part"),
        ("a b", "space or a control"),
        ("a\u00a0b", "space or a control"),
        ("a\n", "space or a control"),
        ("a\x00", "space or a control"),
        ("a\u202eb", "space or a control"),
        ("..", r"'\.\.', '@' or a backslash"),
        ("a..b", r"'\.\.', '@' or a backslash"),
        ("a@b", r"'\.\.', '@' or a backslash"),
        ("a\\b", r"'\.\.', '@' or a backslash"),
        ("-a", "begins with '-'"),
        ("12", "already name versions"),
        ("٣", "already name versions"),
        ("latest", "already name versions"),
        ("a" * 256, "more than 255 bytes"),
        ("é" * 128, "more than 255 bytes"),
    ],
)
def test_a_pointer_name_that_means_something_else_is_refused(name: str, reason: str) -> None:
    with pytest.raises(Invalid, match=reason):
        pointer_name(name)


@given(words)
def test_an_accepted_pointer_name_is_its_own_name_and_never_a_number(raw: str) -> None:
    accepted = _accepted(pointer_name, raw)
    if accepted is not None:
        assert pointer_name(accepted) == accepted
        assert not accepted.isdecimal()
        assert accepted != "latest"
        assert PurePosixPath("/drop/sales", accepted).is_relative_to("/drop/sales")
        assert ".." not in PurePosixPath(accepted).parts


# --- rights --------------------------------------------------------------------------------------------------------------------


@given(st.sampled_from(PermissionType), st.sampled_from(PermissionType))
def test_a_right_includes_exactly_the_ones_up_to_it(right: PermissionType, other: PermissionType) -> None:
    strength = {PermissionType.READ: 1, PermissionType.WRITE: 2, PermissionType.ADMIN: 3}
    assert right.includes(other) == (strength[right] >= strength[other])


def _accepted(rule: object, raw: str) -> str | None:
    try:
        return str(rule(raw))  # type: ignore[operator]  # one of the naming rules, each with its own NewType
    except Invalid:
        return None


@pytest.mark.parametrize("name", ["हिन्दी", "ภาษาไทย", "größe", "データ"])
def test_dataset_names_of_any_script_are_accepted(name: str) -> None:
    assert dataset_name(name)


def test_a_mark_without_a_letter_is_no_dataset_name() -> None:
    with pytest.raises(Invalid, match="no valid dataset name"):
        dataset_name("\u0301abc")


def test_a_part_longer_than_a_file_system_takes_is_refused() -> None:
    assert file_path("a" * 255 + "/b")
    with pytest.raises(Invalid, match="255 a part"):
        file_path("a" * 256 + "/b")

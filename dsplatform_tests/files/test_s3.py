"""A bucket's own troubles: what S3 answers, breaks off or leaves unsaid, at each call, and what must then be true."""

import random
import re
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from dsplatform.core import s3 as calls
from dsplatform.core.attachments import attachment
from dsplatform.core.errors import Unavailable
from dsplatform.core.s3_address import S3Address
from dsplatform.core.types import ContentHash
from dsplatform.files import s3 as store
from dsplatform.files.model import storage_key
from dsplatform.files.s3 import S3Storage
from dsplatform_tests import make, s3

MIB = 1024 * 1024
READ_SECONDS, LAST_START_SECONDS = calls.READ_SECONDS, calls.LAST_START_SECONDS
"""As shipped; with the server of the tests there is more patience."""
STALL = 2.0


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pauses of a test's length; patience, too, but only where something stalls."""
    monkeypatch.setattr(calls, "PAUSE_SECONDS", 0.001)
    if "stall" in request.node.name:
        monkeypatch.setattr(calls, "READ_SECONDS", STALL / 2)
    monkeypatch.setattr(store, "MULTIPART_BYTES", 5 * MIB)
    monkeypatch.setattr(store, "PART_BYTES", 5 * MIB)


@pytest.fixture
def storage(s3_address: S3Address, s3_proxy: s3.Proxy, tmp_path: Path) -> S3Storage:
    """A store that exists, reached through the proxy."""
    made = S3Storage(S3Address(s3_address.bucket, s3_address.prefix, s3_proxy.endpoint), tmp_path / "spool")
    made.store_id()
    s3_proxy.clear()
    return made


@pytest.fixture
def direct(s3_address: S3Address, tmp_path: Path) -> S3Storage:
    """The same store, without the proxy."""
    return S3Storage(s3_address, tmp_path / "spool")


def new_key() -> str:
    return storage_key(ContentHash(random.randbytes(32).hex()), uuid4())


def read(storage: S3Storage, key: str) -> bytes:
    with storage.open(key) as reader:
        return reader.read()


def place(storage: S3Storage, key: str, data: bytes) -> None:
    spooled = storage.spool(uuid4())
    spooled.write_bytes(data)
    storage.place(spooled, key)


# --- each fault at each call -------------------------------------------------------------------------------------------------------

FAULTS: dict[str, s3.Fault] = {
    "500": s3.answering(s3.error(500, "InternalError")),
    "503": s3.answering(s3.error(503, "SlowDown")),
    "500 after it was done": s3.answering(s3.error(500, "InternalError"), after=True),
    "409": s3.answering(s3.error(409, "ConditionalRequestConflict")),
    "reset": s3.reset(),
    "reset after it was done": s3.reset(after=True),
    "half of the answer": s3.partial_body,
    "200 with an error": s3.answering(s3.Answer(200, {"Content-Type": "application/xml"}, s3.error(200, "InternalError").body)),
    "200 with an error after it was done": s3.answering(s3.Answer(200, {}, s3.error(200, "InternalError").body), after=True),
}
STALLS: dict[str, s3.Fault] = {"stall": s3.stall(STALL), "stall after it was done": s3.stall(STALL, after=True)}

SMALL = b"a small object"


def puts(storage: S3Storage, direct: S3Storage) -> None:
    key = new_key()
    storage.put(key, SMALL)
    assert read(direct, key) == SMALL


def puts_parts(storage: S3Storage, direct: S3Storage) -> None:
    key, data = new_key(), random.randbytes(5 * MIB) + SMALL
    place(storage, key, data)
    assert read(direct, key) == data


def sizes(storage: S3Storage, direct: S3Storage) -> None:
    key = new_key()
    direct.put(key, SMALL)
    assert storage.size(key) == len(SMALL)
    assert storage.size(new_key()) is None


def reads(storage: S3Storage, direct: S3Storage) -> None:
    key, data = new_key(), random.randbytes(200_000)
    direct.put(key, data)
    assert read(storage, key) == data


def lists(storage: S3Storage, direct: S3Storage) -> None:
    direct.put(key := new_key(), SMALL)
    assert key in [found.key for page in storage.list() for found in page]


def deletes(storage: S3Storage, direct: S3Storage) -> None:
    direct.put(key := new_key(), SMALL)
    assert storage.delete([key, new_key()]) == {}
    assert direct.size(key) is None


def puts_aside(storage: S3Storage, direct: S3Storage) -> None:
    direct.put(key := new_key(), SMALL)
    assert storage.quarantine(key)
    assert storage.quarantine(key)
    assert read(direct, key) == SMALL


def tells_the_time(storage: S3Storage, direct: S3Storage) -> None:
    assert abs((storage.now() - direct.now()).total_seconds()) <= 60


def tells_its_name(storage: S3Storage, direct: S3Storage) -> None:
    assert storage.store_id() == direct.store_id()


CALLS = [puts, puts_parts, sizes, reads, lists, deletes, puts_aside, tells_the_time, tells_its_name]
Call = Callable[[S3Storage, S3Storage], None]


@pytest.mark.parametrize("fault", FAULTS)
def test_what_passes_is_repeated_and_loses_nothing(fault: str, storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy) -> None:
    """The fault meets the first, the second, … request of each call, and then any two."""
    for call in CALLS:
        _with_fault_at_each_request(FAULTS[fault], call, storage, direct, s3_proxy, repeats=1)


@pytest.mark.parametrize("fault", STALLS)
def test_silence_is_broken_off_and_loses_nothing(
    fault: str, direct: S3Storage, s3_endpoint: str, s3_address: S3Address, tmp_path: Path
) -> None:
    """The same, with all calls side by side, each through a proxy of its own: they do nothing but wait."""

    def meet(call: Call) -> None:
        with s3.running_proxy(s3_endpoint) as proxy:
            storage = S3Storage(S3Address(s3_address.bucket, s3_address.prefix, proxy.endpoint), tmp_path / call.__name__)
            storage.store_id()
            _with_fault_at_each_request(STALLS[fault], call, storage, direct, proxy, repeats=1)

    with ThreadPoolExecutor(len(CALLS)) as pool:
        list(pool.map(meet, CALLS))


@pytest.mark.soak
@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("fault", [*FAULTS, *STALLS])
def test_what_passes_is_repeated_two_hundred_times(
    fault: str, call: Call, storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy
) -> None:
    _with_fault_at_each_request((FAULTS | STALLS)[fault], call, storage, direct, s3_proxy, repeats=200)


def _with_fault_at_each_request(
    fault: s3.Fault, call: Call, storage: S3Storage, direct: S3Storage, proxy: s3.Proxy, *, repeats: int
) -> None:
    for _ in range(repeats):
        for number in count():
            proxy.clear()
            passed = count()
            proxy.fail(fault, when=lambda _request, passed=passed, number=number: next(passed) == number)  # type: ignore[misc]
            call(storage, direct)
            if not proxy.failed:  # it asks less often
                break
            assert proxy.failed == 1
        assert number > 0
    proxy.clear()
    proxy.fail(fault, times=2)
    call(storage, direct)
    assert proxy.failed == 2


# --- writing once ------------------------------------------------------------------------------------------------------------------


def is_put(request: s3.Request) -> bool:
    return request.method == "PUT"


def is_completion(request: s3.Request) -> bool:
    return request.method == "POST" and "uploadId=" in request.path


def test_every_write_asks_for_a_new_key_and_names_its_checksum(storage: S3Storage, s3_proxy: s3.Proxy) -> None:
    storage.put(new_key(), SMALL)
    place(storage, new_key(), SMALL)
    puts_seen = [request for request in s3_proxy.seen if is_put(request)]
    assert len({request.path for request in puts_seen}) == 2  # one may have been repeated
    assert {request.headers["If-None-Match"] for request in puts_seen} == {"*"}
    assert {request.headers["x-amz-checksum-sha256"] for request in puts_seen} == {calls.checksum(SMALL)}


def test_parts_name_their_checksums_and_the_whole_asks_for_a_new_key(storage: S3Storage, s3_proxy: s3.Proxy) -> None:
    place(storage, new_key(), bytes(11 * MIB))
    parts = [request for request in s3_proxy.seen if is_put(request)]
    assert len({request.path for request in parts}) == 3  # one may have been repeated
    assert all(request.headers["x-amz-checksum-sha256"] == calls.checksum(request.body) for request in parts)
    completions = [request for request in s3_proxy.seen if is_completion(request)]
    assert {request.headers["If-None-Match"] for request in completions} == {"*"}


def test_a_key_of_ours_that_is_there_is_ours_when_the_bytes_are(storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy) -> None:
    direct.put(key := new_key(), SMALL)
    storage.put(key, SMALL)  # as an upload does whose earlier try arrived
    assert [request.method for request in s3_proxy.seen] == ["PUT", "HEAD"]
    with pytest.raises(Unavailable, match=r"has other bytes under .*never overwritten"):
        storage.put(key, SMALL.upper())  # the same size
    with pytest.raises(Unavailable, match="has other bytes"):
        storage.put(key, SMALL + b"!")


def _without_checksum(_handler: Any, _request: s3.Request, forward: s3.Forward) -> s3.Answer:
    answer = forward()
    return s3.Answer(answer.status, {k: v for k, v in answer.headers.items() if k.lower() != "x-amz-checksum-sha256"}, answer.body)


@pytest.mark.parametrize("size", [100, 6 * MIB])
def test_a_store_that_keeps_no_checksums_is_asked_for_the_bytes(
    size: int, storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy
) -> None:
    data = random.randbytes(size)
    place(direct, key := new_key(), data)
    s3_proxy.fail(_without_checksum, times=2, when=lambda request: request.method == "HEAD")
    place(storage, key, data)
    assert s3_proxy.failed >= 1
    s3_proxy.fail(_without_checksum, times=9, when=lambda request: request.method == "HEAD")
    with pytest.raises(Unavailable):
        place(storage, key, data[::-1])


def test_a_412_without_an_object_is_no_success(storage: S3Storage, s3_proxy: s3.Proxy) -> None:
    """The mutant of trusting a 412: without the look at the object, bytes that nobody has would be recorded."""
    s3_proxy.fail(s3.answering(s3.error(412, "PreconditionFailed")), when=is_put)
    with pytest.raises(Unavailable, match="has other bytes"):
        storage.put(new_key(), SMALL)


def test_bytes_that_change_on_the_way_are_sent_again(storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy) -> None:
    s3_proxy.fail(s3.answering(s3.error(400, "BadDigest")), times=2, when=is_put)
    storage.put(key := new_key(), SMALL)
    assert read(direct, key) == SMALL
    assert s3_proxy.failed == 2


def test_parts_that_conflict_begin_again_under_another_upload(storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy) -> None:
    s3_proxy.fail(s3.answering(s3.error(409, "ConditionalRequestConflict")), when=is_completion)
    place(storage, key := new_key(), data := random.randbytes(6 * MIB))
    assert read(direct, key) == data
    uploads = {re.search(r"uploadId=([^&]+)", request.path)[1] for request in s3_proxy.seen if is_completion(request)}  # type: ignore[index]
    assert len(uploads) == 2
    assert [request.method for request in s3_proxy.seen].count("DELETE") == 1  # the first one's parts are given back


def test_parts_that_are_never_put_together_are_given_back(storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy) -> None:
    s3_proxy.fail(s3.answering(s3.error(400, "InvalidPart")), times=9, when=is_completion)
    with pytest.raises(Unavailable, match=r"did not put the parts of .* together: 400 InvalidPart"):
        place(storage, key := new_key(), bytes(6 * MIB))
    begun = sum(request.method == "POST" and request.path.endswith("uploads") for request in s3_proxy.seen)
    assert begun == [request.method for request in s3_proxy.seen].count("DELETE") == store.COMPLETIONS
    assert direct.size(key) is None


def test_an_upload_of_parts_that_fails_gives_them_back(storage: S3Storage, s3_proxy: s3.Proxy) -> None:
    s3_proxy.fail(s3.answering(s3.error(403, "AccessDenied")), when=lambda request: "partNumber=2" in request.path)
    with pytest.raises(Unavailable, match=r"refuses to write part 2 of .*AccessDenied"):
        place(storage, new_key(), bytes(11 * MIB))
    assert [request.method for request in s3_proxy.seen].count("DELETE") == 1


def test_a_store_that_overwrites_although_asked_not_to_is_refused(s3_address: S3Address, s3_proxy: s3.Proxy, tmp_path: Path) -> None:
    def deaf(_handler: Any, _request: s3.Request, _forward: s3.Forward) -> s3.Answer:
        return s3.Answer(200, {"ETag": '"x"'}, b"")

    fresh = S3Storage(S3Address(s3_address.bucket, f"{s3_address.prefix}deaf/", s3_proxy.endpoint), tmp_path)
    s3_proxy.fail(deaf, times=2, when=is_put)
    with pytest.raises(Unavailable, match=r"overwrites objects although asked not to \(If-None-Match\)"):
        fresh.put(new_key(), SMALL)


# --- reading ---------------------------------------------------------------------------------------------------------------------


def test_a_broken_download_goes_on_where_it_broke(storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy) -> None:
    data = random.randbytes(6 * MIB)
    place(direct, key := new_key(), data)
    s3_proxy.fail(s3.partial_body, times=3, when=lambda request: request.method == "GET")
    assert read(storage, key) == data
    starts = [request.headers.get("Range") for request in s3_proxy.seen]
    assert starts[0] is None
    assert starts[1:] == [f"bytes={len(data) - len(data) // 2**n}-" for n in (1, 2, 3)]


def test_an_object_that_is_replaced_while_it_is_read_is_no_mixture(storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy) -> None:
    direct.put(key := new_key(), bytes(500_000))
    s3_proxy.fail(s3.partial_body)
    with storage.open(key) as reader:
        reader.read(10)
        direct.delete([key])
        direct.put(key, bytes([1]) * 500_000)
        with pytest.raises(OSError, match="changed while it was read"):
            reader.read()


def test_another_range_than_was_asked_for_is_never_taken_for_it(storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy) -> None:
    """A server that ignores `Range` gives the whole object again."""
    data = random.randbytes(300_000)
    direct.put(key := new_key(), data)
    s3_proxy.fail(s3.partial_body)
    s3_proxy.fail(_without_range, times=2)
    assert read(storage, key) == data
    assert s3_proxy.failed == 3


def _without_range(_handler: Any, request: s3.Request, forward: s3.Forward) -> s3.Answer:
    answer = forward()
    if "Range" not in request.headers:
        return answer
    return s3.Answer(200, {k: v for k, v in answer.headers.items() if k.lower() != "content-range"}, answer.body)


def test_a_download_address_needs_no_credentials_and_ends(storage: S3Storage, direct: S3Storage) -> None:
    from urllib.error import HTTPError
    from urllib.request import urlopen

    direct.put(key := new_key(), SMALL)
    with urlopen(address_of(direct, key, 60)) as answer:
        assert answer.read() == SMALL
        assert answer.headers["Content-Disposition"] == attachment('ä "b".html')
        assert answer.headers["Content-Type"] == "application/octet-stream"
    short = address_of(direct, key, 1)
    time.sleep(2.1)
    with pytest.raises(HTTPError) as caught:
        urlopen(short)
    assert caught.value.code == 403
    caught.value.close()


def test_a_download_address_is_for_reading_one_object(direct: S3Storage) -> None:
    """T58: another object, another method and another name are all signed for."""
    from urllib.error import HTTPError
    from urllib.request import Request, urlopen

    direct.put(key := new_key(), SMALL)
    direct.put(other := new_key(), SMALL)
    url = address_of(direct, key, 60)
    attempts = [
        Request(url.replace(key, other)),
        Request(url, data=b"other", method="PUT"),
        Request(url, method="DELETE"),
        Request(url.replace("attachment", "inline")),
        Request(url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")),
    ]
    for attempt in attempts:
        with pytest.raises(HTTPError) as caught:
            urlopen(attempt)
        assert caught.value.code in {400, 403}, attempt.full_url
        caught.value.close()
    with direct.open(key) as reader:
        assert reader.read() == SMALL


def address_of(storage: S3Storage, key: str, seconds: int) -> str:
    url = storage.download_url(key, seconds, 'ä "b".html')
    assert url is not None
    return url


# --- nobody there ------------------------------------------------------------------------------------------------------------------


@pytest.fixture
def silent_port() -> Iterator[int]:
    """Takes connections and says nothing."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(128)
        yield listening.getsockname()[1]


@pytest.mark.parametrize("call", CALLS)
def test_a_dead_endpoint_is_named(call: Call, s3_address: S3Address, tmp_path: Path) -> None:
    (port,) = s3.free_ports(1)
    dead = S3Storage(S3Address("bucket", "", f"http://127.0.0.1:{port}"), tmp_path)
    with pytest.raises(Unavailable, match=rf"s3://bucket does not answer .*6 tries.*check that http://127\.0\.0\.1:{port} is up"):
        call(dead, S3Storage(s3_address, tmp_path))


def test_a_silent_endpoint_is_given_up(s3_address: S3Address, silent_port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "READ_SECONDS", 1.0)
    monkeypatch.setattr(calls, "LAST_START_SECONDS", 3.0)
    silent = S3Storage(S3Address("bucket", "", f"http://127.0.0.1:{silent_port}"), tmp_path)
    with pytest.raises(Unavailable, match=r"does not answer .*[1-4] tries"):
        silent.size(new_key())


def test_no_try_begins_so_late_that_its_end_is_after_thirty_seconds() -> None:
    assert LAST_START_SECONDS + calls.LONGEST_PAUSE_SECONDS + calls.CONNECT_SECONDS + READ_SECONDS <= 30


def test_wrong_credentials_are_said_to_be(
    storage: S3Storage, s3_address: S3Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
    wrong = S3Storage(s3_address, tmp_path)
    with pytest.raises(Unavailable, match=r"refuses to .*403 .*; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY"):
        wrong.size(new_key())
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    with pytest.raises(Unavailable, match="without credentials: set AWS_ACCESS_KEY_ID"):
        S3Storage(s3_address, tmp_path).size(new_key())


def test_a_missing_boto3_is_named_with_what_installs_it(s3_address: S3Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "boto3", None)
    with pytest.raises(Unavailable, match=re.escape("pip install 'dsplatform[s3]'")):
        S3Storage(s3_address, tmp_path).size(new_key())


# --- listing and deleting -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def pages(storage: S3Storage, direct: S3Storage, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Seven objects, two to a page."""
    keys = sorted(new_key() for _ in range(7))
    for key in keys:
        direct.put(key, SMALL)
    real = calls.Bucket.ask

    def ask(self: calls.Bucket, operation: str, key: str | None = None, **parameters: Any) -> Any:
        return real(self, operation, key, **parameters, **({"MaxKeys": 2} if operation == "list_objects_v2" else {}))

    monkeypatch.setattr(calls.Bucket, "ask", ask)
    return keys


def listed(storage: S3Storage) -> list[str]:
    return [found.key for page in storage.list() for found in page]


def on_page(number: int) -> Callable[[s3.Request], bool]:
    looked = iter(range(1, 100))
    return lambda request: "list-type=2" in request.path and next(looked) == number


@pytest.mark.parametrize("page", [1, 2, 3, 4])
def test_an_error_on_any_page_is_never_the_end(page: int, pages: list[str], storage: S3Storage, s3_proxy: s3.Proxy) -> None:
    s3_proxy.fail(s3.answering(s3.error(500, "InternalError")), when=on_page(page))
    assert listed(storage) == pages
    s3_proxy.fail(s3.answering(s3.error(403, "AccessDenied")), when=on_page(page))
    with pytest.raises(Unavailable, match="refuses to list"):
        listed(storage)


def edited(change: Callable[[bytes], bytes]) -> s3.Fault:
    def fault(_handler: Any, _request: s3.Request, forward: s3.Forward) -> s3.Answer:
        answer = forward()
        body = change(answer.body)
        assert body != answer.body
        return s3.Answer(answer.status, answer.headers, body)

    return fault


@pytest.mark.parametrize(
    "change",
    [
        lambda body: re.sub(rb"<IsTruncated>.*?</IsTruncated>", b"", body),
        lambda body: re.sub(rb"<NextContinuationToken>.*?</NextContinuationToken>", b"", body),
        lambda body: re.sub(rb"<Contents>.*?</Contents>", b"", body, count=1, flags=re.DOTALL),
        lambda body: re.sub(rb"<Size>.*?</Size>", b"", body, count=1),
        lambda body: body[: len(body) // 2],
    ],
    ids=["not saying whether it is the last", "without the way on", "an entry short", "an entry without size", "half"],
)
def test_a_page_that_is_not_whole_is_asked_for_again(
    change: Callable[[bytes], bytes], pages: list[str], storage: S3Storage, s3_proxy: s3.Proxy
) -> None:
    s3_proxy.fail(edited(change), when=on_page(2))
    assert listed(storage) == pages
    s3_proxy.fail(edited(change), times=calls.ATTEMPTS, when=lambda request: "continuation-token" in request.path)
    with pytest.raises(Unavailable, match="does not answer"):
        listed(storage)


def test_a_page_that_comes_twice_is_refused(pages: list[str], storage: S3Storage, s3_proxy: s3.Proxy) -> None:
    first: list[s3.Answer] = []

    def keep(_handler: Any, _request: s3.Request, forward: s3.Forward) -> s3.Answer:
        first.append(forward())
        return first[0]

    s3_proxy.fail(keep, when=on_page(1))
    s3_proxy.fail(lambda *_: first[0], when=on_page(1))  # counts from the second on: a plan that holds is asked no more
    with pytest.raises(Unavailable, match="the list cannot be trusted"):
        listed(storage)


def test_objects_are_deleted_by_the_thousand(
    s3_address: S3Address, s3_proxy: s3.Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "READ_SECONDS", 8.0)
    storage = S3Storage(S3Address(s3_address.bucket, s3_address.prefix, s3_proxy.endpoint), tmp_path)
    assert storage.delete(new_key() for _ in range(2_500)) == {}  # type: ignore[arg-type]
    assert [request.method for request in s3_proxy.seen] == ["POST"] * 3


def test_an_object_that_is_not_deleted_is_named(storage: S3Storage, direct: S3Storage, s3_proxy: s3.Proxy) -> None:
    direct.put(key := new_key(), SMALL)
    prefix = storage._address.prefix
    body = (
        f"<DeleteResult><Error><Key>{prefix}objects/{key}</Key><Code>AccessDenied</Code><Message>no</Message></Error>"
        "<Error><Key>x</Key><Code>NoSuchKey</Code></Error></DeleteResult>"
    ).encode()
    s3_proxy.fail(s3.answering(s3.Answer(200, {"Content-Type": "application/xml"}, body)))
    assert storage.delete([key]) == {key: "AccessDenied no"}


# --- the address of the store --------------------------------------------------------------------------------------------------------


def test_a_lost_identity_is_not_made_anew_by_who_has_seen_it(storage: S3Storage, direct: S3Storage) -> None:
    direct._bucket.delete(["STORE_ID"])
    with pytest.raises(Unavailable, match="has lost its STORE_ID"):
        storage.store_id()


def test_a_large_object_is_put_aside_in_parts(storage: S3Storage, direct: S3Storage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "COPY_AT_ONCE_BYTES", 5 * MIB)
    place(direct, key := new_key(), data := random.randbytes(6 * MIB))
    assert storage.quarantine(key)
    assert storage._bucket.read(f"quarantine/{key}") == data


def test_many_threads_share_a_store(storage: S3Storage, direct: S3Storage) -> None:
    keys = [new_key() for _ in range(32)]
    make.at_once(*[lambda key=key: storage.put(key, key.encode()) for key in keys])
    assert [read(direct, key) for key in keys] == [key.encode() for key in keys]

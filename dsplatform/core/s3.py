"""S3-compatible stores: an address, and calls that end.

A call is repeated while the store is busy, breaks off or does not answer, after growing, random pauses; it ends within 30 seconds with
its answer or with `Unavailable`. What a timeout left behind is unknown, so only calls that may be repeated are made here: writes name a
key that is new (`If-None-Match: *`), and `AlreadyThere` says that it was not, be it by an earlier try of the same write.
"""

import base64
import hashlib
import io
import re
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count, islice
from pathlib import Path
from random import uniform
from socket import IPPROTO_TCP, TCP_NODELAY
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar, cast
from urllib.parse import quote

from dsplatform.core.attachments import attachment
from dsplatform.core.errors import Unavailable
from dsplatform.core.s3_address import S3Address

if TYPE_CHECKING:  # boto3 is an extra, and importing it takes longer than most commands
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")

CONNECTIONS = 64
CONNECT_SECONDS = 3.0
READ_SECONDS = 8.0
"""For how long a connection may be silent."""
LAST_START_SECONDS = 13.0
"""A try begins no later than this after the first one."""
ATTEMPTS = 6
PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.1, 3.0

_AGAIN = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_DAMAGED_ON_THE_WAY = frozenset({"BadDigest", "IncompleteBody", "RequestTimeout", "XAmzContentSHA256Mismatch"})
_DELETE_BATCH = 1_000
COPY_AT_ONCE_BYTES = 64 * 1024 * 1024
"""Larger objects are copied in parts of this size, so that no answer takes long."""


@dataclass(frozen=True)
class Stat:
    """What the store knows of an object."""

    key: str
    size: int
    modified_at: datetime
    """By the store's clock, in whole seconds."""
    etag: str
    checksum: str | None = None
    """The stored SHA-256 in base64; with `-<parts>` behind it, of the parts' SHA-256. Not in listings."""


class AlreadyThere(Exception):
    """The key of a conditional write exists."""


class Refusal(Exception):
    """What the store answered instead of doing what it was asked for."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(f"{status} {code}: {message}" if message else f"{status} {code}")
        self.status = status
        self.code = code

    @property
    def passes(self) -> bool:
        """Whether the same call may succeed a little later."""
        return self.status in _AGAIN or self.code in _DAMAGED_ON_THE_WAY


class BrokenOff(Exception):
    """An answer that cannot be the whole answer."""


class Bucket:
    """The objects below an address; keys are relative to it. Every failure of the store is `Unavailable`."""

    def __init__(self, address: S3Address) -> None:
        try:
            import boto3
            import botocore.session
            from botocore import exceptions
            from botocore.config import Config
            from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError, IncompleteReadError
            from botocore.httpsession import URLLib3Session
            from botocore.parsers import ResponseParserError
            from botocore.utils import get_environ_proxies
            from urllib3.exceptions import HTTPError
        except ImportError as err:
            raise Unavailable(f"{address.name} needs the package boto3: pip install 'dsplatform[s3]'") from err
        self.address = address
        self._passing = (HTTPClientError, exceptions.ConnectionError, IncompleteReadError, ResponseParserError, HTTPError, BrokenOff)
        self._sdk_error, self._sdk_refusal = BotoCoreError, ClientError
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=CONNECTIONS,
            signature_version="s3v4",  # or addresses that are given out are signed as long ago, which not every store takes
            retries={"mode": "standard", "total_max_attempts": 1},  # `call` repeats, because it also knows how much time is left
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if address.endpoint else "auto"},
        )
        sdk = botocore.session.get_session()
        session = boto3.Session(botocore_session=sdk)
        try:
            self._credentials = session.get_credentials()
            region = address.region or session.region_name or "us-east-1"
            self.client: S3Client = session.client("s3", endpoint_url=address.endpoint, region_name=region, config=config)
        except (BotoCoreError, ValueError) as err:
            raise Unavailable(f"{address.name} cannot be used: {err}") from err
        if self._credentials is None:
            raise Unavailable(f"{address.name} cannot be used without credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        self._region = region
        signed = self.client.generate_presigned_url("get_object", Params={"Bucket": address.bucket, "Key": "x"})
        self._url = signed.partition("?")[0].removesuffix("x") + quote(address.prefix, safe="/~")
        timeouts: Any = (CONNECT_SECONDS, READ_SECONDS)  # the stubs know of one number only, and of texts below
        without_delay: Any = [(IPPROTO_TCP, TCP_NODELAY, 1)]  # or each body waits 40 ms for the receipt of its head
        self._http = URLLib3Session(
            verify=sdk.get_config_variable("ca_bundle") or True,
            proxies=get_environ_proxies(self._url),
            max_pool_connections=CONNECTIONS,
            timeout=timeouts,
            socket_options=without_delay,
        )

    # --- calling ---------------------------------------------------------------------------------------------------------------

    def call(self, what: str, attempt: Callable[[], T], *, expected: Collection[int] = ()) -> T:
        """Makes an attempt until it succeeds. Raises `Refusal` for an answer with an `expected` status, else `Unavailable`."""
        started = time.monotonic()
        for number in count(1):
            problem: Exception
            try:
                return attempt()
            except Refusal as err:
                if err.status in expected:
                    raise
                if not err.passes:
                    raise Unavailable(f"{self.address.name} refuses to {what}: {err}{_advice(err)}") from err
                problem = err
            except self._passing as err:
                problem = err
            except self._sdk_error as err:
                raise Unavailable(f"{self.address.name} cannot be used to {what}: {err}") from err
            if number == ATTEMPTS or time.monotonic() - started > LAST_START_SECONDS:
                seconds = time.monotonic() - started
                raise Unavailable(
                    f"{self.address.name} does not answer (to {what}; {number} tries in {seconds:.0f} s): {problem}; "
                    f"check that {self.address.endpoint or 'the endpoint'} is up, and repeat"
                ) from problem
            time.sleep(uniform(PAUSE_SECONDS / 2, min(LONGEST_PAUSE_SECONDS, PAUSE_SECONDS * 2**number)))  # noqa: S311  # spreads load
        raise AssertionError("count() does not end")

    def ask(self, operation: str, key: str | None = None, **parameters: Any) -> Any:
        """One attempt of an operation of the SDK, on this bucket. Raises `Refusal`."""
        if key is not None:
            parameters["Key"] = self.address.prefix + key
        try:
            return getattr(self.client, operation)(Bucket=self.address.bucket, **parameters)
        except self._sdk_refusal as err:
            answer, error = err.response["ResponseMetadata"], err.response["Error"]
            raise Refusal(answer["HTTPStatusCode"], error.get("Code", "?"), error.get("Message", "")) from err

    def _send(self, method: str, key: str, headers: Mapping[str, str], body: bytes | BinaryIO = b"") -> Mapping[str, str]:
        """One attempt of a plain request, signed by the SDK but without its machinery, which costs three times as much."""
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        assert self._credentials is not None
        request = AWSRequest(method, self._url + quote(key, safe="/~"), data=body, headers=dict(headers))
        S3SigV4Auth(self._credentials.get_frozen_credentials(), "s3", self._region).add_auth(request)
        answer = self._http.send(request.prepare())
        content: bytes = answer.content
        if answer.status_code >= 300 or b"<Error>" in content[:1_000]:  # an error may come with status 200
            status = answer.status_code if answer.status_code >= 300 else 500
            raise Refusal(status, _tag(content, b"Code") or "without a code", _tag(content, b"Message"))
        return cast("Mapping[str, str]", answer.headers)

    # --- objects ---------------------------------------------------------------------------------------------------------------

    def put(self, key: str, data: bytes | Path, sha256: str) -> None:
        """Writes a new object whole, checked by the store against its SHA-256 (`checksum`). Raises `AlreadyThere`."""
        headers = {"If-None-Match": "*", "x-amz-checksum-sha256": sha256}

        def attempt() -> None:
            with io.BytesIO(data) if isinstance(data, bytes) else data.open("rb") as body:
                self._send("PUT", key, headers, data if isinstance(data, bytes) else body)

        try:
            self.call(f"write {key}", attempt, expected=[412])
        except Refusal as err:
            raise AlreadyThere(key) from err

    def stat(self, key: str) -> Stat | None:
        """What the store knows of an object; None when there is none."""
        try:
            headers = self.call(f"look at {key}", lambda: self._head(key), expected=[404])
        except Refusal:
            return None
        modified = parsedate_to_datetime(headers["Last-Modified"])
        return Stat(key, int(headers["Content-Length"]), modified, headers["ETag"], headers.get("x-amz-checksum-sha256"))

    def _head(self, key: str) -> Mapping[str, str]:
        headers = self._send("HEAD", key, {"x-amz-checksum-mode": "ENABLED"})
        if not all(name in headers for name in ("Content-Length", "Last-Modified", "ETag")):
            raise BrokenOff(f"the answer lacks what describes {key}")
        return headers

    def now(self) -> datetime:
        """The store's clock, in whole seconds."""

        def attempt() -> datetime:
            date = self.ask("head_bucket")["ResponseMetadata"]["HTTPHeaders"].get("date")
            if not date:
                raise BrokenOff("the answer has no date")
            return parsedate_to_datetime(date)

        return self.call("tell the time", attempt)

    def read(self, key: str) -> bytes | None:
        """A small object; None when there is none. Larger ones are for `s3_reading.ObjectReader`."""

        def attempt() -> bytes:
            answer = self.ask("get_object", key)
            with answer["Body"] as body:
                content: bytes = body.read()
            if not answer.get("ETag"):  # an error may come with status 200
                raise BrokenOff("the answer lacks what describes the object")
            return content

        try:
            return self.call(f"read {key}", attempt, expected=[404])
        except Refusal:
            return None

    def list(self, prefix: str = "", after: str = "", *, in_order: bool = True) -> Iterator[Sequence[Stat]]:
        """Every object whose key begins so and comes after `after`, in pages. An error is raised and never reads as the end; so is a
        page that was seen before.

        `in_order` holds the store to the order of keys, which finds any page that comes twice or goes backwards. Stores that list
        folders (`a.b` after `a/b`) keep it where the names of files and folders do not begin alike.
        """
        last, seen = after, set[str]()
        more = {"StartAfter": self.address.prefix + after} if after else {}
        while True:
            page = self.call("list", partial(self._page, prefix, more))
            stats = [self._listed(entry) for entry in page.get("Contents", ())]
            for stat in stats if in_order else ():
                if stat.key.encode() <= last.encode():
                    raise Unavailable(f"{self.address.name} lists {stat.key!r} after {last!r}: the list cannot be trusted")
                last = stat.key
            if stats:
                yield stats
            if not page["IsTruncated"]:
                return
            more = {"ContinuationToken": page["NextContinuationToken"]}
            if more["ContinuationToken"] in seen:
                raise Unavailable(f"{self.address.name} lists the same page twice: the list cannot be trusted")
            seen.add(more["ContinuationToken"])

    def _listed(self, entry: Mapping[str, Any]) -> Stat:
        key = entry["Key"][len(self.address.prefix) :]
        return Stat(key, entry["Size"], entry["LastModified"].replace(microsecond=0), entry["ETag"])

    def _page(self, prefix: str, more: Mapping[str, str]) -> Any:
        page = self.ask("list_objects_v2", Prefix=self.address.prefix + prefix, **more)
        entries = page.get("Contents", ())
        whole = all({"Key", "Size", "LastModified", "ETag"} <= set(entry) for entry in entries)
        if "IsTruncated" not in page or (page["IsTruncated"] and not page.get("NextContinuationToken")):
            raise BrokenOff("the page does not say whether it is the last")
        if not whole or page.get("KeyCount", len(entries)) != len(entries) + len(page.get("CommonPrefixes", ())):
            raise BrokenOff("the page lacks some of its entries")
        return page

    def delete(self, keys: Collection[str]) -> Mapping[str, str]:
        """Deletes objects; one that is not there is no error. Answers with those that may be left, and why."""
        left: dict[str, str] = {}
        waiting = iter(keys)
        while batch := list(islice(waiting, _DELETE_BATCH)):
            named = [{"Key": self.address.prefix + key} for key in batch]
            answer = self.call("delete", partial(self.ask, "delete_objects", Delete={"Objects": named, "Quiet": True}))
            for error in answer.get("Errors", ()):
                if error.get("Code") != "NoSuchKey":
                    reason = f"{error.get('Code')} {error.get('Message', '')}"
                    left[error["Key"].removeprefix(self.address.prefix)] = reason.strip()
        return left

    def delete_exactly(self, stat: Stat) -> bool:
        """Deletes an object if it is still the one that was seen. True, too, when it was gone already."""
        try:
            self.call(f"delete {stat.key}", lambda: self.ask("delete_object", stat.key, IfMatch=stat.etag), expected=[404, 412])
        except Refusal as err:
            return err.status == 404
        return True

    def copy(self, stat: Stat, target: str) -> bool:
        """Copies the object that was seen; False when it is gone or another one by now. An object at `target` is replaced."""
        parameters: dict[str, Any] = {"CopySource": {"Bucket": self.address.bucket, "Key": self.address.prefix + stat.key}}
        if stat.size <= COPY_AT_ONCE_BYTES:
            parameters["CopySourceIfMatch"] = stat.etag
            copy = partial(self.ask, "copy_object", target, **parameters)
        else:
            from boto3.s3.transfer import TransferConfig

            parameters["ExtraArgs"] = {"CopySourceIfMatch": stat.etag}
            limits = TransferConfig(multipart_threshold=COPY_AT_ONCE_BYTES, multipart_chunksize=COPY_AT_ONCE_BYTES, use_threads=False)
            copy = partial(self.ask, "copy", target, Config=limits, **parameters)
        try:
            self.call(f"copy {stat.key}", copy, expected=[404, 412])
        except Refusal:
            return False
        return True

    def download_url(self, key: str, seconds: int, filename: str) -> str:
        """An address that anybody may read this object from, for that long. A browser saves it under the name, whatever it holds."""
        parameters = {
            "Bucket": self.address.bucket,
            "Key": self.address.prefix + key,
            "ResponseContentDisposition": attachment(filename),
            "ResponseContentType": "application/octet-stream",
        }
        return self.client.generate_presigned_url("get_object", Params=parameters, ExpiresIn=seconds)


def checksum(data: bytes) -> str:
    """SHA-256 as S3 writes it."""
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def _tag(content: bytes, name: bytes) -> str:
    found = re.search(rb"<" + name + rb">([^<]*)</", content[:4_000])
    return found[1].decode(errors="replace") if found else ""


def _advice(err: Refusal) -> str:
    if err.status == 403:
        return "; check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and what they may do"
    if err.code == "NoSuchBucket" or err.status == 404:
        return "; check the name of the bucket, or make it"
    return ""

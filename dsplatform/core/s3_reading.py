"""Objects of an S3-compatible store, read as files."""

import io
from contextlib import suppress
from typing import Any

from dsplatform.core.s3 import BrokenOff, Bucket, Refusal, Stat


class ObjectReader(io.BufferedReader):
    """The bytes of one object, in the state it had when it was opened; seekable."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._ranges = _Ranges(bucket, key)
        super().__init__(self._ranges, buffer_size=64 * 1024)

    @property
    def stat(self) -> Stat:
        """What is being read."""
        return self._ranges.stat


class _Ranges(io.RawIOBase):
    """Reads an object to its end over as many connections as it takes, each from where the last one broke off."""

    def __init__(self, bucket: Bucket, key: str) -> None:
        self._bucket = bucket
        self._key = key
        self._at = 0
        self._body: Any = None
        try:
            self.stat = bucket.call(f"read {key}", self._begin, expected=[404])
        except Refusal as err:
            raise FileNotFoundError(f"{bucket.address.name} has no {key}: {err}") from err

    def _begin(self) -> Stat:
        answer = self._bucket.ask("get_object", self._key)
        if not answer.get("ETag") or "LastModified" not in answer or "ContentLength" not in answer:
            answer["Body"].close()
            raise BrokenOff("the answer lacks what describes the object")
        self._body = answer["Body"]
        return Stat(self._key, answer["ContentLength"], answer["LastModified"].replace(microsecond=0), answer["ETag"])

    def _resume(self) -> None:
        answer = self._bucket.ask("get_object", self._key, Range=f"bytes={self._at}-", IfMatch=self.stat.etag)
        given = answer.get("ContentRange", f"bytes 0-{answer.get('ContentLength', 0) - 1}/{answer.get('ContentLength')}")
        if given != f"bytes {self._at}-{self.stat.size - 1}/{self.stat.size}" or answer.get("ETag") != self.stat.etag:
            answer["Body"].close()
            raise BrokenOff("the answer is another range than was asked for")
        self._body = answer["Body"]

    def readinto(self, buffer: Any) -> int:
        if self._at >= self.stat.size or not len(buffer):
            return 0
        try:
            data = self._bucket.call(f"read {self._key}", lambda: self._read(len(buffer)), expected=[404, 412])
        except Refusal as err:
            raise OSError(f"{self._key} changed while it was read") from err
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def _read(self, size: int) -> bytes:
        try:
            if self._body is None:
                self._resume()
            data: bytes = self._body.read(min(size, self.stat.size - self._at))
            if not data:
                raise BrokenOff(f"it ended after {self._at} of {self.stat.size} bytes")
            return data
        except BaseException:
            self._drop()
            raise

    def _drop(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            with suppress(Exception):
                body.close()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.stat.size}[whence]
        if base + offset != self._at:
            self._drop()
            self._at = max(0, base + offset)
        return self._at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._drop()
        super().close()

"""Where an S3-compatible store is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit


@dataclass(frozen=True)
class S3Address:
    """`s3://bucket/prefix?endpoint=…&region=…`. Credentials come from where AWS's own tools look for them, never from here."""

    bucket: str
    prefix: str = ""
    """Empty, or ending with a slash."""
    endpoint: str | None = None
    region: str | None = None

    @classmethod
    def parse(cls, url: str) -> "S3Address":
        """Raises ValueError with the reason."""
        parts = urlsplit(url)
        if parts.scheme != "s3" or parts.fragment:
            raise ValueError("must be written as s3://bucket/prefix?endpoint=…&region=…")
        if "@" in url.partition("?")[0]:
            raise ValueError("credentials never go into the URL: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY")
        if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]", parts.netloc):
            raise ValueError(f"{parts.netloc!r} is no bucket's name: 3 to 63 lower-case letters, digits, dots and hyphens")
        prefix = parts.path.strip("/")
        if not re.fullmatch(r"[A-Za-z0-9!_.*'()/-]*", prefix) or not {"", ".", ".."}.isdisjoint(prefix.split("/") if prefix else ()):
            raise ValueError(f"{prefix!r} is no usable prefix: letters, digits and !_.*'()- between single slashes")
        options: dict[str, str] = {}
        for name, value in parse_qsl(parts.query, keep_blank_values=True):
            if name not in {"endpoint", "region"} or name in options:
                raise ValueError(f"option {name!r} is unknown or given twice: there are endpoint and region")
            options[name] = value
        return cls(parts.netloc, f"{prefix}/" if prefix else "", _endpoint(options), _region(options))

    def __str__(self) -> str:
        options = {name: value for name, value in (("endpoint", self.endpoint), ("region", self.region)) if value}
        return self.name + (f"?{urlencode(options, safe=':/')}" if options else "")

    @property
    def name(self) -> str:
        """Bucket and prefix, without how to get there."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")


def _endpoint(options: Mapping[str, str]) -> str | None:
    endpoint = options.get("endpoint")
    if endpoint is None:
        return None
    parts = urlsplit(endpoint)
    if parts.scheme not in {"http", "https"} or not parts.hostname or "@" in parts.netloc or parts.path.strip("/") or parts.query:
        raise ValueError("endpoint must be written as http://host:port or https://host:port")
    _ = parts.port  # raises ValueError for one that is no number
    return endpoint.rstrip("/")


def _region(options: Mapping[str, str]) -> str | None:
    region = options.get("region")
    if region is not None and not re.fullmatch(r"[a-z0-9-]+", region):
        raise ValueError(f"region {region!r} has other characters than lower-case letters, digits and hyphens")
    return region

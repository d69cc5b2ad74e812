import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsplatform.core.s3_address import S3Address

NAMES = st.from_regex(r"[a-z0-9][a-z0-9.-]{1,20}[a-z0-9]", fullmatch=True)
SEGMENTS = st.lists(st.from_regex(r"[A-Za-z0-9!_*'()-]{1,8}", fullmatch=True), max_size=3)
ENDPOINTS = st.none() | st.sampled_from(["http://127.0.0.1:8333", "https://s3.example", "https://s3.example:9000"])
REGIONS = st.none() | st.from_regex(r"[a-z0-9-]{1,12}", fullmatch=True)


@given(NAMES, SEGMENTS, ENDPOINTS, REGIONS)
def test_an_address_reads_back_as_it_is_written(bucket: str, segments: list[str], endpoint: str | None, region: str | None) -> None:
    prefix = "".join(f"{segment}/" for segment in segments)
    address = S3Address(bucket, prefix, endpoint, region)
    assert S3Address.parse(str(address)) == address


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://bucket", "must be written as s3://bucket/prefix"),
        ("s3://bucket#x", "must be written as s3://bucket/prefix"),
        ("s3://ab", "'ab' is no bucket's name: 3 to 63"),
        ("s3://Bucket", "'Bucket' is no bucket's name"),
        ("s3://bucket:9000", "'bucket:9000' is no bucket's name"),
        ("s3://key:secret@bucket", "credentials never go into the URL: set AWS_ACCESS_KEY_ID"),
        ("s3://bucket/a//b", "'a//b' is no usable prefix"),
        ("s3://bucket/a/../b", "'a/../b' is no usable prefix"),
        ("s3://bucket/a b", "'a b' is no usable prefix"),
        ("s3://bucket?secret=x", "option 'secret' is unknown or given twice"),
        ("s3://bucket?region=a&region=b", "option 'region' is unknown or given twice"),
        ("s3://bucket?region=EU", "region 'EU' has other characters"),
        ("s3://bucket?endpoint=host:9000", "endpoint must be written as http://host:port"),
        ("s3://bucket?endpoint=http://host/path", "endpoint must be written as http://host:port"),
        ("s3://bucket?endpoint=http://a:b@host", "endpoint must be written as http://host:port"),
        ("s3://bucket?endpoint=http://host:nine", "Port could not be cast"),
    ],
)
def test_a_wrong_address_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=re.escape(reason)):
        S3Address.parse(url)


def test_the_name_does_not_say_how_to_get_there() -> None:
    assert S3Address.parse("s3://bucket/a/b/?endpoint=http://h:1/&region=eu").name == "s3://bucket/a/b"
    assert str(S3Address.parse("s3://bucket/")) == "s3://bucket"

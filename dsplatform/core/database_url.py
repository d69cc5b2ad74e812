"""Addresses of databases, which SQLAlchemy and libpq write differently."""

import re

_WITH_DRIVER = re.compile(r"([A-Za-z]+)\+\w+://")


def libpq_url(url: str) -> str:
    """The address as libpq reads it: without the driver that SQLAlchemy names behind the scheme. Whatever names none stays as it is."""
    found = _WITH_DRIVER.match(url)
    return f"{found[1]}://{url[found.end() :]}" if found else url

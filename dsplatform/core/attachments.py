"""How an answer says under which name it is to be saved."""

from urllib.parse import quote

_PLAIN = "!#$&+-.^_`|~"


def attachment(filename: str) -> str:
    """The value of `Content-Disposition` for what is to be saved under that name, and shown by no browser (RFC 6266 and RFC 8187).

    Any text gives one line of ASCII. Programs that know nothing of `filename*` get a name in which `_` stands for what they cannot read.
    """
    plain = "".join(char if char.isascii() and char.isprintable() and char not in '"\\%' else "_" for char in filename)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe=_PLAIN, errors='replace')}"

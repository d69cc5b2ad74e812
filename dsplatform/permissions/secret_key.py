"""The one secret of an installation, from which keys for single purposes are made."""

import hmac
import secrets
import threading
from pathlib import Path

from dsplatform.core import private_files
from dsplatform.core.errors import Unavailable

BYTES = 32


class SecretKey:
    """The secret of the settings, else of a file that is made when it is first needed."""

    def __init__(self, given: str, path: Path) -> None:
        self._given = given
        self._path = path
        self._lock = threading.Lock()

    def of(self, purpose: str) -> bytes:
        """A key of 32 bytes for this purpose alone; always the same. Raises `Unavailable` when the file cannot be used."""
        return hmac.digest(self._secret(), purpose.encode(), "sha256")

    def _secret(self) -> bytes:
        with self._lock:
            if not self._given:
                self._given = self._read()
            return self._given.encode()

    def _read(self) -> str:
        try:
            found = self._path.read_text(encoding="utf-8")
        except FileNotFoundError:
            found = private_files.write_once(self._path, secrets.token_hex(BYTES))
        except (OSError, UnicodeDecodeError) as err:
            raise Unavailable(f"the secret key in {self._path} cannot be read: {err}") from err
        if len(found) < BYTES:
            raise Unavailable(f"the secret key in {self._path} is too short: delete the file, and everybody logs in again")
        return found

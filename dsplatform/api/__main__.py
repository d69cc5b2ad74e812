"""`python -m dsplatform.api` serves the HTTP API."""

import contextlib
import sys

from dsplatform.api.server import main
from dsplatform.core.errors import DsplatformError

if __name__ == "__main__":
    try:
        with contextlib.suppress(KeyboardInterrupt):
            main()
    except DsplatformError as err:
        sys.exit(f"dsplatform: {err}")

"""Text files with fields: dialect, encoding, rows, types. `delimited.py` is the way in."""

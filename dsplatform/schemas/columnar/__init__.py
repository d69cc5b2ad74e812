"""Parquet and Arrow: what footers say, held against the file. `reading.py` is the way in."""

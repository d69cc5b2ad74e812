"""Workbooks: archive, sheets, cells, types. `reading.py` is the way in."""

"""JSON and JSON lines: records, their shapes, and what columns they make. `reading.py` is the way in."""

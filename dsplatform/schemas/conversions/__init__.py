"""A table as Parquet: the two messages about it, and how it is written."""

"""A stand-in for the legacy system: its tables, files, oddities, writers and answers, written from its specification."""

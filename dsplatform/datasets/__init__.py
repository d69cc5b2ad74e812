"""Datasets: names, owners, labels.

A dataset's *name* is unique among the living datasets of its owner and may change. Its *slug* is unique among all datasets and never
changes: the first dataset of a name has it as its slug, later ones get `name~2`, `name~3`, … A person says either.

A deleted dataset is hidden; its name is free at once, its slug stays taken for as long as it can be restored, and until it is reaped.
"""

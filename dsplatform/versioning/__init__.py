"""Versions of datasets: a DAG with branches and tags.

*Version*: a complete, immutable list of components, numbered from 1 within its dataset. *Component*: a file under a name. *Branch*:
a name that moves to each new version, by compare-and-swap. *Tag*: a name that never moves. *Head*: where a branch points. *Overlay*:
a small document, stored like any file, that says what a version changed against its parent and names the parent's overlay by hash, so
that history can be checked, and rebuilt from the stored files alone.

*Merge*: a version with two parents, made name by name: what only one side changed since the *merge base*, their best common ancestor, is
taken over. A parent is always older than its child.

A *reference* to a version is a number, `latest` (the newest of the dataset, on whatever branch), a branch or a tag; without one it is
the head of `main`.
"""

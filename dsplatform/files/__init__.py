"""Content-addressed files: the exact bytes once, named by their SHA-256.

*Content*: bytes and their hash. *File*: the row of a content that is stored. *Object*: the bytes on the storage, under a *key*
that is written once and never used again. *Upload* (in the database an *upload intent*): says which keys are being written, so that
what a crash leaves behind can be found. *Reference*: a row that names a file (a component of a version, a staged file); what no
reference names is garbage.

What holds at every moment:
    I1  every reference names a file.
    I2  every file in state `ok` has an object at its key whose hash and size agree.
    I3  every object is named by a file, an upload intent or a tombstone, or it is too young to be judged.
    I4  a key is written once.
    I6  `reference_count` plus the pending deltas is the number of references.
Write order: intent, bytes, durability barrier, row. Delete order: row, tombstone, grace period, bytes.
"""

"""Ingestion: what arrived, and what became of it.

*Drop folder*: `drop/<dataset>/[<branch>/]<file>`. *Inbox*: the ledger of arrivals, one row per arrival of a file, which ends in exactly
one outcome: *accepted* (it is in a version), *duplicate* (the branch held exactly these bytes under this name, so no version was made) or
*rejected* (with the reason). *Look*: one listing of the folder. *Complete*: size and time stood still over two looks and for the settle
time, or a marker `<name>.done` lies beside the file.

Looking only records; whoever ingests *claims* rows first, and a claim holds as long as the claimer's database session lives. The
outcome of a file is written in the transaction that commits its version, so a crash at any point leaves rows that the next run takes up.
"""

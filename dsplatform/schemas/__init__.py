"""Schemas: what columns a version's files have, decided from every row, kept per content, composed per version, compared.

Terms. A *capture* is what reading one file found: its format, its tables (one; a workbook has one per sheet), their columns and
rows, or the reason why it could not be read. A *layout* is a capture without what differs between files that look alike (row
counts, notes). A *version's schema* lists each distinct layout once and which component has it. A *comparison* says what changed
between two of them: `identical`, `compatible` (what read the first can read the second) or `breaking`.

Rules. All rows count, never a sample. Text becomes a typed column only when every value converts and back without loss: `007`,
`+5`, `NA` and `01/02/2024` stay strings. An empty field is null; a line without a character is no row. Rows that do not fit the
table are counted and named in the notes, never dropped without a word. A file that can't be read is still versioned; its capture
is `unreadable` with the reason. Foreign bytes are parsed in a child process with limits on memory and time.
"""

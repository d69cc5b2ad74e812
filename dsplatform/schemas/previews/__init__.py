"""A look into one table: conditions, typed values, and the three forms in which rows are answered."""

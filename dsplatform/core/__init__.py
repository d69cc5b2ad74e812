"""What every module shares. Nothing here knows a module: types, rules of names, errors, the database, settings."""

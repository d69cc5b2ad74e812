"""The Dagster code location: what runs when, and what people see of it. Decides nothing."""

"""Questions about the history of versions: pure functions on parents."""

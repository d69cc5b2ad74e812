"""The command line. Each command parses, makes one call and renders; what is heavy is imported inside, so that `--help` is quick."""

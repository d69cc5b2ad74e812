"""What a dataset promises: terms, their YAML, learning them, and holding a file to them."""

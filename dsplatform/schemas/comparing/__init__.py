"""What changed between two schemas, what that means for readers, and the number of each version. Pure."""

"""Where the README's figures come from. `make bench` runs everything and rewrites RESULTS.md.

Each figure stands beside its limit, measured in the same run on the same machine: what hashing alone costs, what hashing, copying and
syncing in one pass costs, what writing each new file without a database costs. Ratios travel between machines; seconds do not.
"""

"""The legacy system comes along: analysed, migrated while it runs, validated, switched."""

"""The ways of asking: one file each, one line in the registry."""

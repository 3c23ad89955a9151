"""Learning a policy from its own samples, scored."""

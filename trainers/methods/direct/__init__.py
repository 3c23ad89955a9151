"""Learning a policy from preferences directly, without a reward model."""

"""Learning a policy from what people wrote: demonstrations and corrections."""

"""Learning what people prefer, as a score."""

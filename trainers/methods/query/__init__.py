"""Choosing what to ask people next."""

"""Runs: asked for in PostgreSQL, trained by workers, watched live."""

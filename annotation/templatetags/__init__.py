"""Filters for the templates of studies."""

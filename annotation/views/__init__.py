"""The pages of the annotation half, an area a module."""

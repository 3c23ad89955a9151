"""Formulas on tensors: pure functions, each with its source and a number worked by hand in its test."""

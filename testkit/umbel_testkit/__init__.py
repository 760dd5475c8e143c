"""Conformance suites for umbel plugins."""

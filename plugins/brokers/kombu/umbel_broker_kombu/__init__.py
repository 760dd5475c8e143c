"""Adapter over any kombu transport."""

"""Workflows as data: signatures and what is composed of them."""

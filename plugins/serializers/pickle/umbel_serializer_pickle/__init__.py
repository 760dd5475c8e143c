"""Python pickle; refused unless accepted."""

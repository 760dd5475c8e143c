"""How a task travels: bodies and their content types, messages, and names on the wire."""

"""The kernel of umbel: a graph of steps, plugin look-up, and the contracts in ``spi``.

It imports the standard library and pluggy only, and knows nothing of tasks.
"""

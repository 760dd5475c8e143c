"""The contracts: what the author of a broker, backend, pool, serializer or compressor implements.

Every contract takes batches, states its capabilities as data, takes a deadline on whatever can block, and lets no
exception out that is not of ``umbel_kernel.errors``.
"""

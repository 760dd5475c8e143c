"""``umbel demo``: a real map-reduce over the Python standard library, with a worker of its own."""

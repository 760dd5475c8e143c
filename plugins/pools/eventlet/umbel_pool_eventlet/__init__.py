"""A pool of eventlet's green threads. Nothing is imported here, since ``prepare`` comes before everything else."""

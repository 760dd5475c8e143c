"""A pool of gevent's greenlets. Nothing is imported here, since ``prepare`` has to come before everything else."""

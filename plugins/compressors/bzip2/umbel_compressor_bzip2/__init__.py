"""bzip2 (application/x-bz2)."""

"""zlib (application/x-gzip)."""

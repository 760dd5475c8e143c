"""Redis broker."""

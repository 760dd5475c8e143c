"""Makes a pool of any hub of greenlets."""

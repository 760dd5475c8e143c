"""The app of each contender, as a module of its own, so that a worker is started on it as any user does."""

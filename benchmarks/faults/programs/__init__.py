"""Programs that a scenario runs in a process of their own, with the app of the contender that is tested."""

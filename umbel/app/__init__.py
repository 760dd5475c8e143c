"""The app: its tasks, its configuration, and how tasks are sent and run."""

"""Every setting that umbel knows by name, installed plugin or not: one file a group."""

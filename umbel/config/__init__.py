"""The configuration of an app: every setting with its type, default and meaning, and the layers that give its value."""

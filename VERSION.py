"""The one version of every distribution built from this repository."""

__version__ = "0.1.0"

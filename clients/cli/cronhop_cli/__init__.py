"""The command line of cronhop. It speaks HTTP only."""

__version__ = "0.1.0"

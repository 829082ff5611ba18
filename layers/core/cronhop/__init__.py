"""Cron for a fleet, without a scheduler host."""

__version__ = "0.1.0"

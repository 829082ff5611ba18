"""Logs: one JSON object a line, with a stable `action` and ids."""

from __future__ import annotations

from aws_lambda_powertools import Logger

# Powertools asks for the service's name; the template gives it, per function.
log = Logger(service="cronhop", utc=True)

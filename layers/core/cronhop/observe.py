"""Logs: one JSON object a line, with a stable `action` and ids."""

from __future__ import annotations

from aws_lambda_powertools import Logger

# The template names the function in POWERTOOLS_SERVICE_NAME.
log = Logger(utc=True)

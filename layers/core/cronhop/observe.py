"""Logs, one JSON object a line with a stable `action` and ids, and metrics."""

from __future__ import annotations

import os
from collections.abc import Mapping

from aws_lambda_powertools import Logger, Metrics
from aws_lambda_powertools.metrics import MetricUnit

# The template names the function in POWERTOOLS_SERVICE_NAME.
log = Logger(utc=True)


def measure(counts: Mapping[str, int]) -> None:
    """Tell CloudWatch what was counted, by a line in the log (EMF).

    A count of nothing is not told: a metric costs by the hours in which it is there.
    Outside a stack, where POWERTOOLS_METRICS_NAMESPACE is not set, nothing is told.
    """
    told = {name: count for name, count in counts.items() if count}
    if not told or "POWERTOOLS_METRICS_NAMESPACE" not in os.environ:
        return
    metrics = Metrics()
    for name, count in told.items():
        metrics.add_metric(name=name, unit=MetricUnit.Count, value=count)
    metrics.flush_metrics()

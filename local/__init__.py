"""The whole of cronhop on one machine: the template, deployed into ministack."""

"""Pure rules: no I/O, the clock is an argument."""

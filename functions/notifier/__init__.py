"""The function that delivers notices."""

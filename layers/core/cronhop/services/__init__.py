"""Use cases, one file a noun or verb."""

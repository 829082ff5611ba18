"""The function that follows the ledger's streams."""

"""Files to start from."""

"""One running service."""

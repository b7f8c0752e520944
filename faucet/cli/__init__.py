"""The command line: parses, then calls."""

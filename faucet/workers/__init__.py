"""What stands behind a lock: where workers come from, and their life cycles."""

"""What can be seen of a service."""

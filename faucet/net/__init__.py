"""How things are reached: addresses, listening sockets, connectors."""

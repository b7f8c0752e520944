"""Faucet: one address in front of N R Plumber workers, each with one request at a time, and one fair queue."""

__version__ = "0.1.0"

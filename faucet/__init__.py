"""Faucet: a proxy and supervisor for R Plumber APIs. One address, N workers with one request each, one fair queue."""

__version__ = "0.1.0"

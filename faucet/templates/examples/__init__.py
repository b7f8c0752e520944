"""Deployment examples: `faucet example kubernetes` prints one of these files. No code."""

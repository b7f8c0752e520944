"""The command line: options, subcommands, `faucet.toml`, and the messages for wrong usage.

Parses, then calls; it never does the work itself.
The top floor: nothing but `__main__` imports it.
"""

"""Exit codes of `faucet`, as numbers and as `--help` lists them."""

from __future__ import annotations

EXIT_FAILED = 1
"""The machine, or a running Faucet, is in the way; the command line is right."""

EXIT_USAGE = 2
"""The command line, a variable or `faucet.toml` is wrong."""

EXIT_INTERRUPTED = 130
"""Ended by Ctrl-C before anything was served: 128 + SIGINT, as shells count."""

EXIT_CODES = """\
Exit codes:
  0  ended by SIGTERM or SIGINT, and every request in flight was finished
  1  could not start
  2  wrong usage
  3  ended, but requests in flight were cut (second signal, --shutdown-timeout)"""

CTL_EXIT_CODES = """\
Exit codes:
  0  done (health: a worker is ready)
  1  refused, or no Faucet answers (health: no worker is ready;
     rolling-restart: it was stopped)
  2  wrong usage"""

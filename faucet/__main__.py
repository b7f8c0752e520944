"""`python -m faucet`."""

import sys

from faucet.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

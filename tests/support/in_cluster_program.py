"""The program as in a pod: `python -m tests.support.in_cluster_program ACCOUNT …`, where ACCOUNT is a directory."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from faucet.cli.main import main
from faucet.pods.discovery import in_cluster as module

if __name__ == "__main__":
    module.in_cluster.__defaults__ = (os.environ, Path(sys.argv.pop(1)))
    sys.exit(main())

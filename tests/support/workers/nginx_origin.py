"""Becomes an nginx that answers on FAUCET_PORT: the fastest worker there is."""

import os
import tempfile
from pathlib import Path

from tests.bench.peers import NGINX_ALONE, ORIGIN

if __name__ == "__main__":
    directory = Path(tempfile.mkdtemp(prefix="faucet-origin-", dir=os.environ["FAUCET_ORIGINS"]))
    port = os.environ["FAUCET_PORT"]
    (directory / "file").write_bytes(b"x" * (100 << 20))
    config = directory / "nginx.conf"
    http = ORIGIN.format(port=port, dir=directory)
    config.write_text(NGINX_ALONE.format(dir=directory, http=http, buffering="off"))
    os.execvp("nginx", ["nginx", "-p", str(directory), "-c", str(config)])

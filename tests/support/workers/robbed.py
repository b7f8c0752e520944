"""A worker whose port is taken by another program, the first time: that one answers, this one cannot start."""

import os
import subprocess
import sys
import time
from pathlib import Path

import counting

THIEF = """
import socket, time
server = socket.create_server(("127.0.0.1", {port}))
end = time.monotonic() + 8
server.settimeout(8)
while time.monotonic() < end:
    connection, _ = server.accept()
    connection.close()
"""

if __name__ == "__main__":
    port, robbed = int(os.environ["FAUCET_PORT"]), Path("robbed")
    if not robbed.exists():
        robbed.touch()
        # In the background of a shell that ends: nobody's child, in a session of its own.
        words = ["sh", "-c", '"$@" >/dev/null 2>&1 &', "thief", sys.executable, "-c", THIEF.format(port=port)]
        subprocess.run(words, start_new_session=True, check=True)
        time.sleep(0.5)
    counting.Handler.listen()

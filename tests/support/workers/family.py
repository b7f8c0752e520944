"""A worker with a child process of its own."""

import subprocess
import sys

import counting

if __name__ == "__main__":
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    print(f"child {child.pid}", flush=True)
    counting.Handler.listen()

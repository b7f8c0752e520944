"""A worker that leaves processes behind: `/orphan?seconds` makes a grandchild, in a session of its own, whose parent is
gone. Answers its pid."""

import os
import time

import counting


def leave(seconds: float) -> int:
    """Fork twice; the pid of the grandchild."""
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        grandchild = os.fork()
        if grandchild:
            os.write(writer, str(grandchild).encode())
            os._exit(0)
        os.closerange(0, 64)
        time.sleep(seconds)
        os._exit(0)
    os.waitpid(child, 0)
    pid = int(os.read(reader, 20))
    os.close(reader)
    os.close(writer)
    return pid


class Handler(counting.Handler):
    """Adds `/orphan`."""

    def do_GET(self) -> None:
        """See counting."""
        path, _, seconds = self.path.partition("?")
        if path == "/orphan":
            body = str(leave(float(seconds or "0"))).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        else:
            super().do_GET()


if __name__ == "__main__":
    Handler.listen()

"""A worker that reads bodies as fast as it can, and forgets them."""

import os
import socketserver


class Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        buffer = bytearray(1 << 18)
        while line := self.rfile.readline():
            length = 0
            while line not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                line = self.rfile.readline()
            while length and (size := self.rfile.readinto1(memoryview(buffer)[: min(length, len(buffer))])):
                length -= size
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


if __name__ == "__main__":
    Server(("127.0.0.1", int(os.environ["FAUCET_PORT"])), Handler).serve_forever()

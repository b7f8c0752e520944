"""Stands in front of the demo by Plumber and counts what that has in hand: watched.py ADDRESS PORT WORKER_PORT

Each request goes on to the worker on a connection of its own and is heard out, also when whoever asked has gone. A
second one meanwhile is an offence: `/offences` tells how many there were, `/served` how many requests.
"""

from __future__ import annotations

import http.client
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

state = threading.Lock()
in_hand = served = offences = 0
address, port, worker_port = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self) -> None:
        global in_hand, served, offences
        if self.path in ("/offences", "/served"):
            self.reply(200, str(offences if self.path == "/offences" else served).encode())
            return
        try:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        except OSError:
            self.close_connection = True
            return  # it never came whole, so the worker never saw it
        with state:
            in_hand += 1
            offences += in_hand > 1
        try:
            status, content = self.ask(body)
        finally:
            with state:
                in_hand -= 1
                served += 1
        self.reply(status, content)

    do_GET = do_POST = answer

    def ask(self, body: bytes) -> tuple[int, bytes]:
        worker = http.client.HTTPConnection(address, worker_port, timeout=30)
        try:
            target = "/sleep?t=0.01" if self.path == "/" else self.path
            worker.request("GET" if self.path == "/" else self.command, target, body or None, {"Connection": "close"})
            response = worker.getresponse()
            return response.status, response.read()
        finally:
            worker.close()

    def reply(self, status: int, content: bytes) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


if __name__ == "__main__":
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer((address, port), Handler).serve_forever()

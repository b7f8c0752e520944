"""A TLS server that ends with a close_notify, or without: then its end cannot be told apart from a cut."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def tls_server(context: ssl.SSLContext, answer: bytes, notify: bool) -> Iterator[int]:
    """The port of a server that reads a head, answers with these bytes, and ends the connection; one at a time."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    plain, _ = listener.accept()
                except OSError:
                    return  # closed
                with plain, contextlib.suppress(OSError):
                    _serve_one(context.wrap_socket(plain, server_side=True), answer, notify)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
    thread.join(10)


def _serve_one(connection: ssl.SSLSocket, answer: bytes, notify: bool) -> None:
    with connection:
        connection.settimeout(5)
        head = b""
        while b"\r\n\r\n" not in head:
            head += connection.recv(65536)
            if not head:
                return
        connection.sendall(answer)
        if notify:
            connection.unwrap()  # sends it, and fails if the client just closes
        else:
            connection.shutdown(socket.SHUT_WR)

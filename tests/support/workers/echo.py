"""A worker that answers with the head of the request, byte for byte."""

import contextlib
import socket

from little_http import accept

END = b"\r\n\r\n"


def answer(connection: socket.socket) -> None:
    with connection, contextlib.suppress(ConnectionError):
        head = b""
        while END not in head:
            part = connection.recv(1 << 16)
            if not part:
                return
            head += part
        head = head.partition(END)[0] + END
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s" % (len(head), head))


if __name__ == "__main__":
    accept(answer)

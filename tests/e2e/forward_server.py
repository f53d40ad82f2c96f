"""A program with two ports for tests of forwards: ADDRESS PORT OTHER. At PORT the first byte of a connection says
what it is for; at OTHER, unless it is 0, there is an HTTP server."""

from __future__ import annotations

import hashlib
import http.server
import socket
import sys
import threading

BLOCK = 64 * 1024


def pieces(size: int) -> list[bytes]:
    """Bytes that are the same in every run and compress badly."""
    seed, out = hashlib.sha256(b"forward").digest(), []
    while size > 0:
        seed = hashlib.sha256(seed).digest()
        block = (seed * (BLOCK // len(seed)))[:size]
        out.append(block)
        size -= len(block)
    return out


def serve(conn: socket.socket) -> None:
    with conn:
        what = conn.recv(1)
        if what == b"e":  # what comes, until it is closed on that side, and how much it was
            total = 0
            while data := conn.recv(BLOCK):
                total += len(data)
                conn.sendall(data)
            conn.sendall(b"end %d" % total)
        elif what == b"s":  # SIZE in ten digits: so many bytes
            for block in pieces(int(conn.recv(10, socket.MSG_WAITALL))):
                conn.sendall(block)
        elif what == b"d":  # the digest of what comes
            digest = hashlib.sha256()
            while data := conn.recv(BLOCK):
                digest.update(data)
            conn.sendall(digest.hexdigest().encode())
        elif what == b"h":  # says its last word first, and then listens
            conn.sendall(b"bye")
            conn.shutdown(socket.SHUT_WR)
            total = 0
            while data := conn.recv(BLOCK):
                total += len(data)
            print("heard", total, flush=True)
        elif what == b"x":  # breaks off
            conn.sendall(b"half a sent")
            conn.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        elif what == b"n":  # never reads
            threading.Event().wait(600)


def main(address: str, port: int, other: int) -> None:
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = f"page {self.path}".encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *words: object) -> None:
            pass

    if other:
        pages = http.server.ThreadingHTTPServer((address, other), Page)
        threading.Thread(target=pages.serve_forever, daemon=True).start()
    server = socket.create_server((address, port), backlog=256)
    while True:
        conn, _ = server.accept()
        threading.Thread(target=serve, args=(conn,), daemon=True).start()


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))

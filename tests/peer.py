"""The echo protocol in another language, to check ours against. Python's standard library only.

    peer.py server HOST PORT       serve until killed; port 0 takes a free one
    peer.py client HOST PORT MSG   send one frame, print the one that comes back
    peer.py raw HOST PORT HEX      send these bytes, print those that come back, both in hex

A frame is four bytes of length, big-endian, and the payload. One frame a connection each way,
then the server half-closes. Headers are put together from single bytes, not by a library, so
that the byte order is written here in plain sight.
"""

import socket
import sys

HANG = 60  # seconds, for any one call


def recv_exact(conn, count):
    data = b""
    while len(data) < count:
        piece = conn.recv(count - len(data))
        if not piece:
            raise EOFError(f"got {len(data)} of {count} bytes, then the peer ended its stream")
        data += piece
    return data


def send_frame(conn, payload):
    n = len(payload)
    header = bytes([n >> 24 & 255, n >> 16 & 255, n >> 8 & 255, n & 255])
    conn.sendall(header + payload)


def recv_frame(conn):
    header = recv_exact(conn, 4)
    n = header[0] << 24 | header[1] << 16 | header[2] << 8 | header[3]
    return header, recv_exact(conn, n)


def say(line):
    print(line, flush=True)


def server(host, port):
    with socket.create_server((host, port)) as listener:
        say("[listen-ok] %s:%d" % listener.getsockname()[:2])
        while True:
            conn, _ = listener.accept()
            with conn:
                conn.settimeout(HANG)
                header, payload = recv_frame(conn)
                say(f"[frame] header {header.hex()}, {len(payload)} bytes")
                send_frame(conn, payload)
                conn.shutdown(socket.SHUT_WR)
                rest = conn.recv(1)  # the client's end
                say(f"[done] {len(rest)} bytes after the frame")


def client(host, port, msg):
    with socket.create_connection((host, port), HANG) as conn:
        send_frame(conn, msg.encode())
        header, payload = recv_frame(conn)
        say(f"[echoed] header {header.hex()}, {payload.decode()}")
        say(f"[end] {len(conn.recv(1))} bytes after the frame")


def raw(host, port, text):
    with socket.create_connection((host, port), HANG) as conn:
        for byte in bytes.fromhex(text):  # a byte a time
            conn.sendall(bytes([byte]))
        conn.shutdown(socket.SHUT_WR)
        came = b""
        while piece := conn.recv(4096):
            came += piece
        say(came.hex())


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["server", host, port]:
            server(host, int(port))
        case ["client", host, port, msg]:
            client(host, int(port), msg)
        case ["raw", host, port, text]:
            raw(host, int(port), text)
        case _:
            sys.exit(__doc__)

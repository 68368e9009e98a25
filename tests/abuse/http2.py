"""gRPC calls over a bare socket (RFC 9113), for what a library is too polite to do."""

import select
import socket
import struct

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 8, 9
CANCEL = struct.pack(">I", 8)
INITIAL_WINDOW_SIZE = 4
END_HEADERS, END_STREAM, ACK = 4, 1, 1


def frame(kind, flags, stream, payload=b""):
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header(name, value, remember=False):
    """A literal without indexing (RFC 7541, 6.2.2), or one that later blocks may name by its index (6.2.1)."""
    return bytes([0x40 if remember else 0, len(name)]) + name.encode() + bytes([len(value)]) + value.encode()


def call_headers(path, more=(), remember=False):
    names_and_values = (
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "test"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
        *more,
    )
    return b"".join(header(name, value, remember) for name, value in names_and_values)


def remembered_call_headers():
    """Those of a connection's first call_headers(path, remember=True): a byte for each (RFC 7541, 6.1)."""
    return bytes(0x80 | 62 + i for i in reversed(range(6)))


class Connection:
    """Opens calls and sends parts of their messages, as far as the server's windows allow."""

    def __init__(self, address, answer_window=65535):
        """`answer_window`: bytes that the server may send of each answer."""
        host, port = address.rsplit(":", 1)
        self.socket = socket.create_connection((host, int(port)), timeout=10)
        self.socket.sendall(PREFACE + frame(SETTINGS, 0, 0, struct.pack(">HI", INITIAL_WINDOW_SIZE, answer_window)))
        self.window = 65535  # of the connection
        self.first_window = 65535  # of a new stream
        self.windows = {}
        self.received = b""

    def open(self, path, more_headers=()):
        stream = 2 * len(self.windows) + 1
        self.windows[stream] = self.first_window
        self.socket.sendall(frame(HEADERS, END_HEADERS, stream, call_headers(path, more_headers)))
        return stream

    def call(self, path, message):
        """A whole call of a message that fits the windows of a new connection and stream."""
        data = b"\0" + struct.pack(">I", len(message)) + message
        self.socket.sendall(frame(DATA, END_STREAM, self.open(path), data))

    def send_message_part(self, stream, announced, size, patience=5.0):
        """The prefix of a message of `announced` bytes and its first `size` bytes. Bytes sent; fewer when the server lets no more in."""
        return self.send(stream, b"\0" + struct.pack(">I", announced) + bytes(size), patience)

    def send(self, stream, data, patience=5.0):
        """Bytes sent; fewer when the server lets no more in."""
        sent = 0
        while sent < len(data):
            room = min(self.window, self.windows[stream], 16384, len(data) - sent)
            if room <= 0:
                if not self.receive(patience):
                    break
                continue
            self.socket.sendall(frame(DATA, 0, stream, data[sent : sent + room]))
            sent += room
            self.window -= room
            self.windows[stream] -= room
            self.receive(0)
        return sent

    def receive(self, patience):
        """Takes in what the server has sent; False when it is silent for so long or has closed."""
        if not select.select([self.socket], [], [], patience)[0]:
            return False
        data = self.socket.recv(65536)
        if not data:
            raise ConnectionError("the server has closed the connection")
        self.received += data
        while len(self.received) >= 9:
            size = int.from_bytes(self.received[:3], "big")
            if len(self.received) < 9 + size:
                break
            kind, flags = self.received[3], self.received[4]
            stream = int.from_bytes(self.received[5:9], "big") & 0x7FFFFFFF
            payload = self.received[9 : 9 + size]
            self.received = self.received[9 + size :]
            self._take(kind, flags, stream, payload)
        return True

    def _take(self, kind, flags, stream, payload):
        if kind == WINDOW_UPDATE:
            more = int.from_bytes(payload, "big") & 0x7FFFFFFF
            if stream == 0:
                self.window += more
            elif stream in self.windows:
                self.windows[stream] += more
        elif kind == PING and not flags & ACK:
            self.socket.sendall(frame(PING, ACK, 0, payload))
        elif kind == SETTINGS and not flags & ACK:
            for at in range(0, len(payload), 6):
                name, value = struct.unpack(">HI", payload[at : at + 6])
                if name == INITIAL_WINDOW_SIZE:
                    for known in self.windows:
                        self.windows[known] += value - self.first_window
                    self.first_window = value
            self.socket.sendall(frame(SETTINGS, ACK, 0))

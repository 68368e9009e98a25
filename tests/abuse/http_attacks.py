"""Attacks on the HTTP port."""

import time

from target import MIB, send_all


def _flood_http(target, begin, more):
    connection = target.connect_http()
    send_all(connection, begin)
    yield
    for _ in range(100 * MIB // len(more)):
        if not send_all(connection, more):
            break
    connection.close()


GET = b"GET /metrics HTTP/1.1\r\nHost: test\r\n"
BLOCK = b"x" * 65536


def http_endless_headers(target):
    """Headers without end, 100 MiB a connection."""
    yield from _flood_http(target, GET, (b"X-Header: " + b"x" * 4000 + b"\r\n") * 16)


def http_many_headers(target):
    """100,000 headers."""
    yield from _flood_http(target, GET + b"a: b\r\n" * 100_000 + b"\r\n", GET + b"\r\n")


def http_chunked_body(target):
    """A chunked body without end, 100 MiB a connection."""
    begin = b"POST /metrics HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n"
    yield from _flood_http(target, begin, b"10000\r\n" + BLOCK + b"\r\n")


def http_request_line(target):
    """A request line of 100 MiB."""
    yield from _flood_http(target, b"GET /", BLOCK)


def http_ranges(target):
    """A Range of as many ranges as a head may hold, in a pipeline that nobody reads."""
    request = GET + b"Range: bytes=0-" + b",0-" * 2000 + b"\r\n\r\n"
    yield from _flood_http(target, request, request)


def http_dribblers(target):
    """40 connections that send a byte of a request each half second."""
    connections = [target.connect_http() for _ in range(40)]
    yield
    for byte in GET[:20]:
        for connection in connections:
            send_all(connection, bytes([byte]))
        time.sleep(0.5)


def http_idle(target):
    """1,100 connections from 50 addresses that say nothing."""
    connections = target.connect_many(target.http, 50)
    yield
    time.sleep(5)
    for connection in connections:
        connection.close()


def http_unread_metrics(target):
    """60 connections that ask for /metrics again and again and read nothing."""
    connections = [target.connect_http() for _ in range(60)]
    for connection in connections:
        connection.settimeout(0.01)
        send_all(connection, (GET + b"\r\n") * 500)
    yield
    time.sleep(5)


def http_polling(target):
    """/metrics, as often as it is answered."""
    connections = [target.connect_http() for _ in range(8)]
    yield
    for _ in range(500):
        for connection in connections:
            send_all(connection, GET + b"\r\n")
        for connection in connections:
            try:
                connection.recv(1 << 20)
            except OSError:
                return


ATTACKS = (
    http_endless_headers,
    http_many_headers,
    http_chunked_body,
    http_request_line,
    http_ranges,
    http_dribblers,
    http_idle,
    http_unread_metrics,
    http_polling,
)

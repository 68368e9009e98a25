"""Attacks by requests: work, memory and answers that a small one asks for."""

import gzip
import struct
import time

import grpc

import http2
import messages
import images
from target import MIB, end_calls, start_calls


# Preparing: work that a small request asks for.


def _images_then_gone(target, image):
    request = messages.request(messages.image_part(image) * 16 + messages.text_part("What is this?"), 8)
    with target.channel() as channel:
        calls = start_calls(channel, messages.STREAM_GENERATE, request, 1)
        yield
        time.sleep(1)
        end_calls(calls)


def webp_bombs(target):
    """16 WebP files of 30 bytes and 8192² pixels each, their client gone after a second."""
    yield from _images_then_gone(target, images.solid_webp(8192, 8192))


def jpeg_scans(target):
    """16 JPEG files of 64 scans and 8000² pixels each, their client gone after a second."""
    yield from _images_then_gone(target, images.jpeg_of_scans(8000, 8000))


def lying_images(target):
    """Files whose metadata are the work: small texts that are large, empty segments, passes, frames."""
    files = (
        images.png_of_texts(200),
        images.jpeg_of_segments(3 << 20),
        images.interlaced_png(8000, 8000),
        images.animated_webp(4000, 4000, 10_000),
    )
    request = messages.request(b"".join(messages.image_part(file) for file in files) * 4, 8)
    with target.channel() as channel:
        # Each alone, too: the first that is refused ends a request.
        calls = [start_calls(channel, messages.GENERATE, messages.request(messages.image_part(file), 8), 1)[0] for file in files]
        calls += start_calls(channel, messages.GENERATE, request, 4)
        yield
        time.sleep(2)
        end_calls(calls)


def unfit_images(target):
    """Four large images and far more tokens than can ever fit."""
    request = messages.request(messages.image_part(images.jpeg_of_scans(4000, 4000)) * 4, 1 << 30)
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
    """20 requests of 57 MiB, cancelled while an image that takes long is decoded."""
    slow = messages.request(messages.image_part(images.jpeg_of_scans(8000, 8000)) * 16, 8)
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


def unread_answers(target):
    """Answers of 20 tokens with 20 log-probabilities each that nobody reads, 64 on each of eight connections."""
    request = messages.request(messages.text_part("Say something."), 20, logprobs=20)
    connections = [http2.Connection(target.grpc, answer_window=0) for _ in range(8)]
    for i in range(512):
        if i == 64:
            yield
        connections[i % 8].call(messages.STREAM_GENERATE, request)
        time.sleep(0.04)


def compressed_messages(target):
    """Messages of 60 MiB, packed into 60 KB."""
    packed = gzip.compress(messages.request(messages.text_part("x" * (60 * MIB)), 8), 9)
    message = b"\1" + struct.pack(">I", len(packed)) + packed
    yield
    for _ in range(10):
        connection = http2.Connection(target.grpc)
        for _ in range(16):
            connection.send(connection.open(messages.GENERATE, (("grpc-encoding", "gzip"),)), message, patience=0.5)


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


ATTACKS = (
    webp_bombs,
    jpeg_scans,
    lying_images,
    unfit_images,
    cancelled_uploads,
    empty_parts,
    half_messages,
    half_messages_apart,
    count_tokens,
    unread_answers,
    compressed_messages,
    malformed_messages,
    mid_stream_cancels,
)

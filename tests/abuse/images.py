"""Images that are small as files and large to decode."""

import struct
import zlib


def solid_webp(width, height):
    """Lossless, of one colour: five codes of one symbol each, so pixels take no bits. Some 30 bytes."""
    bits, count = 0x2F, 8  # the signature

    def put(value, size):
        nonlocal bits, count
        bits |= value << count
        count += size

    put(width - 1, 14)
    put(height - 1, 14)
    put(0, 1 + 3)  # no alpha, version 0
    put(0, 1 + 1 + 1)  # no transform, no colour cache, one group of codes
    for _ in range(5):
        put(1, 4)  # simple, one symbol, of one bit: 0
    body = bits.to_bytes((count + 7) // 8 + 1, "little")
    body += b"\0" * (len(body) % 2)
    chunk = b"VP8L" + struct.pack("<I", len(body)) + body
    return b"RIFF" + struct.pack("<I", 4 + len(chunk)) + b"WEBP" + chunk


def _segment(marker, body):
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def jpeg_of_scans(width, height):
    """Progressive, grey, all coefficients 0, and one scan for each of them: 64 scans, all legal. width·height/512 bytes."""
    blocks = ((width + 7) // 8) * ((height + 7) // 8)
    ac_symbols = [run << 4 for run in range(15)]  # "the next 2^run… blocks have nothing more"; codes of 4 bits
    out = [b"\xff\xd8", _segment(0xDB, b"\0" + b"\1" * 64)]
    out.append(_segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"))
    out.append(_segment(0xC4, b"\x00" + bytes([1] + [0] * 15) + b"\0"))
    out.append(_segment(0xC4, b"\x10" + bytes([0, 0, 0, 15] + [0] * 12) + bytes(ac_symbols)))
    out.append(_segment(0xDA, b"\1\1\0\0\0\0") + b"\0" * ((blocks + 7) // 8))
    bits = ""
    left = blocks
    while left:
        run = min(left.bit_length() - 1, 14)
        covered = min(left, (2 << run) - 1)
        bits += format(run, "04b") + (format(covered - (1 << run), f"0{run}b") if run else "")
        left -= covered
    bits += "1" * (-len(bits) % 8)
    scan = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    for k in range(1, 64):
        out.append(_segment(0xDA, bytes([1, 1, 0, k, k, 0])) + scan)
    return b"".join(out) + b"\xff\xd9"


def jpeg_of_segments(size):
    """As many segments of two bytes as fit into `size` bytes, and no image behind them."""
    return b"\xff\xd8" + _segment(0xE5, b"") * (size // 4) + b"\xff\xd9"


def _chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png_of_texts(count):
    """One pixel, and before it texts of 16 MiB each, some 16 KB as they are stored."""
    text = _chunk(b"zTXt", b"comment\0\0" + zlib.compress(bytes(16 << 20), 9))
    profile = _chunk(b"iCCP", b"profile\0\0" + zlib.compress(bytes(16 << 20), 9))
    pixel = _chunk(b"IDAT", zlib.compress(b"\0\0\0\0"))
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + profile + text * count + pixel + _chunk(b"IEND", b"")


def interlaced_png(width, height):
    """One bit a pixel, in seven passes (Adam7)."""
    rows = b"".join(
        (b"\0" * (1 + (-(-(width - x) // dx) + 7) // 8)) * -(-(height - y) // dy)
        for x, y, dx, dy in ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    )
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 1))
    return b"\x89PNG\r\n\x1a\n" + header + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")


def animated_webp(width, height, frames):
    """An animation of images of one colour."""
    still = solid_webp(width, height)[12:]  # its chunk alone

    def u24(value):
        return struct.pack("<I", value)[:3]

    frame = u24(0) * 2 + u24(width - 1) + u24(height - 1) + u24(1) + b"\0" + still
    body = b"VP8X" + struct.pack("<I", 10) + b"\2\0\0\0" + u24(width - 1) + u24(height - 1)
    body += b"ANIM" + struct.pack("<I", 6) + b"\0" * 6
    body += (b"ANMF" + struct.pack("<I", len(frame)) + frame) * frames
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body

"""Pictures that are small as files and large to decode."""

import struct


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

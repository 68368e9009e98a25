"""Requests of proto/tessera/v1/generation.proto as bytes, also such as no library would write."""

STREAM_GENERATE = "/tessera.v1.GenerationService/StreamGenerate"
GENERATE = "/tessera.v1.GenerationService/Generate"
COUNT_TOKENS = "/tessera.v1.GenerationService/CountTokens"

ROLE_USER = 2


def varint(value):
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def field(number, value):
    """A field of bytes, a string or a message; an integer becomes a varint."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def text_part(text):
    return field(2, field(1, text))


def image_part(data):
    return field(2, field(2, field(1, data)))


def request(parts, max_tokens=None):
    """A GenerateRequest, and where max_tokens is None also a CountTokensRequest."""
    message = field(1, ROLE_USER) + parts
    sampling = b"" if max_tokens is None else field(5, field(10, max_tokens))
    return field(2, field(1, message)) + sampling

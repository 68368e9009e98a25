"""Requests of proto/tessera/v1/generation.proto as bytes, also such as no library would write."""

STREAM_GENERATE = "/tessera.v1.GenerationService/StreamGenerate"
GENERATE = "/tessera.v1.GenerationService/Generate"
COUNT_TOKENS = "/tessera.v1.GenerationService/CountTokens"

# gRPC's own services.
CHECK_HEALTH = "/grpc.health.v1.Health/Check"
WATCH_HEALTH = "/grpc.health.v1.Health/Watch"
REFLECT = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"

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


def request(parts, max_tokens=None, logprobs=0):
    """A GenerateRequest whose answer no end token ends, and where max_tokens is None also a CountTokensRequest."""
    message = field(1, ROLE_USER) + parts
    if max_tokens is None:
        return field(2, field(1, message))
    sampling = field(10, max_tokens) + field(14, logprobs) + field(15, 1)
    return field(2, field(1, message)) + field(5, sampling)

#!/usr/bin/python3
"""Today's clients go on working: the API as released, tessera_v1_0_1.binpb, against the proto of this tree and against its server.

    tests/compatibility/api_test.py [BINARIES]      default: build/release/bin
    protoc -I proto --include_imports --descriptor_set_out=… tessera/v1/generation.proto tessera/v1/model.proto      freezes a release

What was released keeps its names, numbers, types and methods; more may come beside it. Then messages made of the released descriptors
alone call every method of a server with the demonstration model. Prints a line for each fault, then `N faults`.
"""

import pathlib
import re
import subprocess
import sys
import tempfile
import time

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
RELEASED = HERE / "tessera_v1_0_1.binpb"
IMAGE = ROOT / "models/demo/images/scene1.png"


def read_set(path):
    files = descriptor_pb2.FileDescriptorSet()
    files.ParseFromString(path.read_bytes())
    return files


def compile_tree(directory):
    out = pathlib.Path(directory) / "tree.binpb"
    protos = ("tessera/v1/generation.proto", "tessera/v1/model.proto")
    subprocess.run(["protoc", f"-I{ROOT / 'proto'}", "--include_imports", f"--descriptor_set_out={out}", *protos], check=True)
    return read_set(out)


def messages_of(files):
    """Full name -> descriptor, nested ones, too; likewise enums and methods."""
    messages, enums, methods = {}, {}, {}

    def walk(prefix, message):
        name = f"{prefix}.{message.name}"
        messages[name] = message
        for nested in message.nested_type:
            walk(name, nested)
        for enum in message.enum_type:
            enums[f"{name}.{enum.name}"] = enum

    for file in files.file:
        for message in file.message_type:
            walk(file.package, message)
        for enum in file.enum_type:
            enums[f"{file.package}.{enum.name}"] = enum
        for service in file.service:
            for method in service.method:
                methods[f"{file.package}.{service.name}/{method.name}"] = method
    return messages, enums, methods


def compare(before, after):
    faults = []
    for old, new in zip(messages_of(before), messages_of(after)):
        faults += [f"{name} is gone" for name in old.keys() - new.keys()]
    (old_messages, old_enums, old_methods), (messages, enums, methods) = messages_of(before), messages_of(after)
    for name in old_messages.keys() & messages.keys():
        fields = {field.name: field for field in messages[name].field}
        for field in old_messages[name].field:
            now = fields.get(field.name)
            same = now and all(getattr(now, key) == getattr(field, key) for key in ("number", "type", "type_name", "label", "proto3_optional"))
            faults += [] if same else [f"{name}.{field.name} has changed"]
    for name in old_enums.keys() & enums.keys():
        numbers = {value.name: value.number for value in enums[name].value}
        faults += [f"{name}.{v.name} has changed" for v in old_enums[name].value if numbers.get(v.name) != v.number]
    for name in old_methods.keys() & methods.keys():
        keys = ("input_type", "output_type", "client_streaming", "server_streaming")
        if any(getattr(old_methods[name], key) != getattr(methods[name], key) for key in keys):
            faults.append(f"{name} has changed")
    return faults


class Client:
    """Of the released descriptors alone."""

    def __init__(self, released, address):
        pool = descriptor_pool.DescriptorPool()
        for file in released.file:
            pool.Add(file)
        self.pool = pool
        self.factory = message_factory.MessageFactory(pool)
        self.channel = grpc.insecure_channel(address)

    def new(self, name, **fields):
        return self.factory.GetPrototype(self.pool.FindMessageTypeByName(f"tessera.v1.{name}"))(**fields)

    def call(self, service, method, request):
        """The answers: one, or those of a stream."""
        descriptor = self.pool.FindServiceByName(f"tessera.v1.{service}").methods_by_name[method]
        answer = self.factory.GetPrototype(descriptor.output_type)
        path = f"/tessera.v1.{service}/{method}"
        if method.startswith("Stream"):
            stub = self.channel.unary_stream(path, type(request).SerializeToString, answer.FromString)
            return list(stub(request, timeout=60))
        return [self.channel.unary_unary(path, type(request).SerializeToString, answer.FromString)(request, timeout=60)]


def check_calls(client):
    def conversation(request):
        message = request.conversation.messages.add(role=2)  # ROLE_USER
        message.parts.add().image.data = IMAGE.read_bytes()
        message.parts.add().text = "What color is the circle?"
        return request

    ask = conversation(client.new("GenerateRequest"))
    ask.sampling.max_tokens = 8
    ask.sampling.logprobs = 2
    whole = client.call("GenerationService", "Generate", ask)[0]
    events = client.call("GenerationService", "StreamGenerate", ask)
    count = client.call("GenerationService", "CountTokens", conversation(client.new("CountTokensRequest")))[0]
    model = client.call("ModelService", "GetModel", client.new("GetModelRequest"))[0].model
    models = client.call("ModelService", "ListModels", client.new("ListModelsRequest"))[0].models
    deltas = [event.delta for event in events if event.HasField("delta")]
    checks = {
        "the answer has text": whole.text,
        "its tokens have log-probabilities": len(whole.logprobs) == len(whole.token_ids) > 0,
        "the stream has the same text": "".join(delta.text for delta in deltas) == whole.text,
        "it begins with the prompt": events[0].HasField("prompt"),
        "it ends with why": events[-1].finish.finish_reason == whole.finish_reason != 0,
        "tokens are counted as they are used": count.prompt_tokens == whole.usage.prompt_tokens > 0,
        "the model is named": model.name == whole.model == models[0].name,
    }
    return [f"not so: {what}" for what, holds in checks.items() if not holds]


def check_server(released, binaries, log):
    command = [binaries / "tessera-server", "--model", ROOT / "models/demo/checkpoint", "--vision-tower", ROOT / "models/demo/vision_tower"]
    with open(log, "wb") as output:
        server = subprocess.Popen([*command, "--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"], stdout=output, stderr=output)
    try:
        for _ in range(600):
            text = log.read_text()
            if " ready" in text or server.poll() is not None:
                break
            time.sleep(0.1)
        address = re.search(r"serving grpc on ([^ ,]+)", log.read_text())[1]
        return check_calls(Client(released, address))
    finally:
        server.terminate()
        server.wait()


def main():
    binaries = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "build/release/bin"
    released = read_set(RELEASED)
    with tempfile.TemporaryDirectory() as directory:
        faults = compare(released, compile_tree(directory))
        faults += check_server(released, binaries, pathlib.Path(directory) / "log")
    print(*faults, f"{len(faults)} faults", sep="\n")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())

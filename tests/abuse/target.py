"""The server as an attacker sees it: two addresses."""

import socket

import grpc

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

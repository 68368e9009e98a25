#!/usr/bin/env python3
"""The server as a process: its log's pipe, its signals, its command line, and its end where the machine has too little.

    tests/server/process_test.py BINARY_DIR [CASE…]      default: every case; serves the demonstration model
"""
import fcntl
import json
import os
import pathlib
import pty
import re
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
MODEL = ["--model", str(ROOT / "models/demo/checkpoint"), "--vision-tower", str(ROOT / "models/demo/vision_tower")]
PATIENCE = 60  # seconds for what takes one or two
BINARIES = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release/bin").resolve()


class Server:
    """tessera-server with the demonstration model; its standard error is a pipe that `read_until` reads."""

    def __init__(self, *flags, limits=None, stderr=subprocess.PIPE):
        defaults = [("--listen", "127.0.0.1:0"), ("--http-listen", "127.0.0.1:0"), ("--dtype", "float32"),
                    ("--kv-cache-mib", "64")]
        rest = [word for default in defaults if default[0] not in flags for word in default]
        self.process = subprocess.Popen(
            [BINARIES / "tessera-server", *MODEL, *rest, *flags],
            stderr=stderr, stdout=subprocess.DEVNULL, preexec_fn=limits)
        self.log = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def read_until(self, text):
        deadline = time.monotonic() + PATIENCE
        while text.encode() not in self.log:
            part = os.read(self.process.stderr.fileno(), 1 << 16)
            assert part and time.monotonic() < deadline, f"no {text!r} in {self.log.decode()}"
            self.log += part
        return self.log.decode()

    def start(self):
        log = self.read_until("ready after")
        self.grpc, self.http = re.search(r"serving grpc on ([^ ,]*), http on ([0-9.:]*)", log).groups()
        self.await_ready()
        return self

    def await_ready(self):
        deadline = time.monotonic() + PATIENCE
        while self.get("/readyz") != "ready\n":
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def get(self, path):
        try:
            with urllib.request.urlopen(f"http://{self.http}{path}", timeout=10) as answer:
                return answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.read().decode()
        except urllib.error.URLError:
            return ""  # not yet there

    def ask(self, *command):
        return subprocess.run([BINARIES / "tessera", *command, "--address", self.grpc], capture_output=True,
                              timeout=PATIENCE, text=True)

    def end(self, *signals):
        """The exit status, and how many seconds the end took."""
        start = time.monotonic()
        for one in signals:
            self.process.send_signal(one)
        return self.process.wait(PATIENCE), time.monotonic() - start

    def output(self):
        """Of a server that ends by itself: exit status and log."""
        _, error = self.process.communicate(timeout=PATIENCE)
        return self.process.returncode, error.decode()


def a_log_that_nobody_reads_stops_nothing():
    with Server() as server:
        server.start()
        fcntl.fcntl(server.process.stderr, fcntl.F_SETPIPE_SZ, 4096)
        load = server.ask("bench", "--requests", "100", "--concurrency", "4", "--max-tokens", "1", "--prompt", "a")
        assert load.returncode == 0, load.stderr
        assert server.get("/readyz") == "ready\n"
        assert server.ask("health").stdout == "SERVING\n"
        status, seconds = server.end(signal.SIGTERM)
        assert status == 0 and seconds < 10, (status, seconds)


def fill(descriptor):
    os.set_blocking(descriptor, False)
    try:
        while os.write(descriptor, b"x"):
            pass
    except BlockingIOError:
        os.set_blocking(descriptor, True)


def a_log_that_is_stuck_from_the_start_stops_nothing():
    """Whatever it is: a pipe, a socket as journald's, a terminal that is stopped."""
    sockets = socket.socketpair()
    for reader, writer in (os.pipe(), [one.fileno() for one in sockets], pty.openpty()):
        fill(writer)
        with socket.create_server(("127.0.0.1", 0)) as free:
            address = "127.0.0.1:%d" % free.getsockname()[1]
        with Server("--http-listen", address, stderr=writer) as server:
            server.http = address
            server.await_ready()
            status, seconds = server.end(signal.SIGTERM)
        assert status == 0 and seconds < 10, (status, seconds)
        assert os.read(reader, 1)


def a_log_whose_reader_is_gone_stops_nothing():
    with Server() as server:
        server.start()
        server.process.stderr.close()
        for _ in range(3):
            assert server.ask("count", "a").returncode == 0
        dropped = re.search(r"^tessera_log_lines_dropped_total (\d+)$", server.get("/metrics"), re.M)
        assert dropped and int(dropped[1]) >= 3, dropped
        assert server.end(signal.SIGTERM)[0] == 0


def what_was_logged_is_written_before_the_end():
    with Server() as server:
        server.start()
        assert server.end(signal.SIGTERM)[0] == 0
        assert server.output()[1].endswith(" info stopped\n")


def a_hangup_is_told_and_has_no_effect():
    with Server() as server:
        server.start()
        server.process.send_signal(signal.SIGHUP)
        server.read_until("SIGHUP")
        assert server.ask("health").stdout == "SERVING\n"
        assert server.end(signal.SIGTERM)[0] == 0


def lines_of_json():
    with Server("--log-format", "json") as server:
        server.start()
        assert server.ask("generate", "--max-tokens", "1", "--request-id", "a\"\u202e\u2028b", "hello").returncode == 0
        server.end(signal.SIGTERM)
        lines = (server.log.decode() + server.output()[1]).splitlines()
    objects = [json.loads(line) for line in lines]
    for one in objects:
        assert {"time", "level", "message"} <= one.keys(), one
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", one["time"]), one
    (request,) = [one for one in objects if one.get("method") in ("Generate", "StreamGenerate")]
    assert request["id"] == "a\"\u202e\u2028b" and request["code"] == "OK" and request["ms"] > 0, request


def ids_are_escaped():
    with Server() as server:
        server.start()
        for character in "\u2028\u2029\u202e\u2066\u200f\u061c\u200b\u0085\u009b":
            server.ask("generate", "--max-tokens", "1", "--request-id", f"a{character}b\" code=x", "hello")
        server.end(signal.SIGTERM)
        log = server.log.decode() + server.output()[1]
    assert log.count("request id=") == 9 and "\\u{202e}b\\\" code=x\"" in log, log
    assert not re.search("[\u0080-\u009f\u2028\u2029\u202e\u2066\u200f\u061c\u200b]", log), log


def refused_before_ports_and_weights():
    free = "127.0.0.1:50999"
    processors = (ROOT / "/proc/cpuinfo").read_text()
    cases = [
        (["--max-context", "1000000"], 1, "--max-context 1000000"),
        (["--kv-cache-mib", "1"], 1, "--kv-cache-mib 1: the cache of one context"),
        (["--kv-cache-mib", "1000000000"], 1, "--kv-cache-mib 1000000000: there are"),
        (["--kv-dtype", "fp8"], 2, "--kv-dtype fp8"),
        (["--weights", "int8"], 2, "--weights int8"),
        (["--listen", free, "--http-listen", free], 2, "are the same port"),
        (["--listen", "0.0.0.0:50999", "--http-listen", free], 2, "are the same port"),
        (["--threads", "-1"], 2, "--threads"),
    ]
    if not os.path.exists("/dev/nvidia0"):
        cases.append((["--device", "cuda"], 1, "cuda"))
    if "avx512_bf16" not in processors:
        cases.append((["--dtype", "bfloat16"], 1, "--dtype float32"))
    for flags, status, told in cases:
        with Server(*flags) as server:
            got, log = server.output()
        assert got == status, (flags, got, log)
        assert told.lower() in log.lower(), (flags, log)
        assert "serving grpc" not in log and "loading" not in log, (flags, log)


# Address spaces in KiB, from too small to start a thread to too small for the model.
ADDRESS_SPACES = range(150_000, 1_000_000, 50_000)


def too_little_memory_is_told():
    told_sizes = 0
    for size in ADDRESS_SPACES:
        limit = size << 10
        with Server(limits=lambda: resource.setrlimit(resource.RLIMIT_AS, (limit, limit))) as server:
            try:
                status, log = server.process.wait(5), server.process.stderr.read().decode()
            except subprocess.TimeoutExpired:
                continue  # enough
        told = [line for line in log.splitlines() if " info " not in line]  # OpenMP writes its line itself
        assert any(re.search("memory|thread|map", line, re.I) for line in told), (size, status, log)
        # Libraries that use what they allocate without a look: one run in ten, at one size.
        assert status in (1, -signal.SIGSEGV), (size, status, log)
        told_sizes += 1
    assert told_sizes > len(ADDRESS_SPACES) // 2, told_sizes


def the_commit_is_told():
    version = subprocess.run([BINARIES / "tessera-server", "--version"], capture_output=True, text=True).stdout
    commit = re.fullmatch(r"tessera-server [0-9.]+ \((unknown|[0-9a-f]{7,40}(-dirty)?)\)\n", version)
    assert commit, version
    with Server() as server:
        metrics = server.start().get("/metrics")
    assert f'commit="{commit[1]}"' in metrics
    assert float(re.search(r"^tessera_uptime_seconds (.*)$", metrics, re.M)[1]) > 0


CASES = [a_log_that_nobody_reads_stops_nothing, a_log_that_is_stuck_from_the_start_stops_nothing,
         a_log_whose_reader_is_gone_stops_nothing,
         what_was_logged_is_written_before_the_end, a_hangup_is_told_and_has_no_effect, lines_of_json, ids_are_escaped,
         refused_before_ports_and_weights, too_little_memory_is_told, the_commit_is_told]


def main():
    failed = 0
    for case in CASES:
        if len(sys.argv) > 2 and case.__name__ not in sys.argv[2:]:
            continue
        start = time.monotonic()
        try:
            case()
            print(f"ok   {case.__name__} ({time.monotonic() - start:.1f} s)", flush=True)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failed += 1
            print(f"FAIL {case.__name__}: {error!r}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

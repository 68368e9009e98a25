"""The server that is attacked, on the demonstration model: its process, its log, its memory and its metrics."""

import fcntl
import os
import pathlib
import re
import resource
import signal
import subprocess
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
SAMPLE = re.compile(r"^([a-z_:]+)(?:\{[^}]*\})? (\S+)$", re.MULTILINE)
# Few, so that a thousand connections would take them all; those of a container with no more are usual.
DESCRIPTORS = 1024
DRAIN_SECONDS = 2


def fetch(http, path, timeout=5):
    with urllib.request.urlopen(f"http://{http}{path}", timeout=timeout) as answer:
        return answer.read().decode()


class Server:
    """Runs until stop() or kill(). Its log is a pipe, read into `log` unless that is suspended."""

    def __init__(self, binaries, log):
        self.log = log
        self.reading = threading.Event()
        self.reading.set()
        reader, writer = os.pipe()
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
        self.process = subprocess.Popen(
            [
                binaries / "tessera-server",
                *("--model", ROOT / "models/demo/checkpoint"),
                *("--vision-tower", ROOT / "models/demo/vision_tower"),
                *("--listen", "127.0.0.1:0", "--http-listen", "127.0.0.1:0"),
                *("--kv-cache-mib", "64", "--drain-timeout", f"{DRAIN_SECONDS}s"),
            ],
            stdout=subprocess.DEVNULL,
            stderr=writer,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, DESCRIPTORS)),
        )
        os.close(writer)
        threading.Thread(target=self._read_log, args=(reader,), daemon=True).start()
        self.grpc, self.http = self._wait_for_ports()
        self._wait_until_ready()

    def _read_log(self, reader):
        with open(self.log, "ab", buffering=0) as file:
            while self.reading.wait() and (data := os.read(reader, 4096)):
                file.write(data)
        os.close(reader)

    def _wait_for_ports(self):
        for _ in range(300):
            if found := re.search(r"serving grpc on ([^ ,]+), http on (\S+)", self.log.read_text(errors="replace")):
                return found.groups()
            if self.process.poll() is not None:
                break
            time.sleep(0.1)
        raise SystemExit("the server did not start:\n" + self.log.read_text(errors="replace")[-2000:])

    def _wait_until_ready(self):
        for _ in range(300):
            try:
                fetch(self.http, "/readyz")
                return
            except OSError:
                time.sleep(0.1)
        raise SystemExit("the server did not become ready")

    def alive(self):
        return self.process.poll() is None

    def resident_bytes(self):
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", status)
        return int(found[1]) << 10 if found else 0

    def metrics(self, timeout=5):
        """Name -> sum over its samples."""
        return parse(fetch(self.http, "/metrics", timeout))

    def stop(self, patience):
        """SIGTERM. Seconds until it has ended; None when it has not ended in time."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(patience)
            return time.monotonic() - start
        except subprocess.TimeoutExpired:
            self.kill()
            return None

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.reading.set()


def parse(text):
    sums = {}
    for name, value in SAMPLE.findall(text):
        sums[name] = sums.get(name, 0.0) + float(value)
    return sums

#!/usr/bin/python3
"""What one client may do to take the server away from others. Each attack goes on until it is ended:

    tests/abuse/attacks.py NAME GRPC HTTP            such as 127.0.0.1:50051 127.0.0.1:8080; writes "ready" when it is under way
    tests/abuse/attacks.py all GRPC HTTP [SECONDS]   each in turn for so long (5), again and again; writes a line for each under way
    tests/abuse/attacks.py list
"""

import multiprocessing
import resource
import signal
import sys
import time

import grpc

import http_attacks
import request_attacks
import transport_attacks
from target import Target

# An attack is a generator: it yields when it is under way, and is begun anew when it ends.
ATTACKS = {
    attack.__name__: attack for module in (request_attacks, http_attacks, transport_attacks) for attack in module.ATTACKS
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

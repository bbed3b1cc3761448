"""What an evil transform costs those that run beside it: their throughput and their time per row, before and beside.

TIDEMILL_TEST_EVIL=all takes every behaviour of the evil guest and every evil file, or those that it names (a,b,…);
without it a few of each kind.
"""

import json
import os
import re
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from host import BINARY
from process import until

GUESTS = Path(__file__).resolve().parent.parent / "guests"
RATE = 10_000
EVIL = os.environ.get("TIDEMILL_TEST_EVIL", "")
ALL = bool(EVIL)
SECONDS = 5
# Behaviour, and whether it ever runs beside the others.
SOME = {"loop_in_open": False, "trap_in_snapshot": False, "trap_on_value": True, "memory_bomb_in_open": False,
        "log_flood": True, "exit": True}


def behaviours():
    """All that the guest can do, and whether it can begin at all; None: either is right."""
    found = {}
    for name, kind in re.findall(r'\("(\w+)", (\w+)', (GUESTS / "evil/src/behaviours/mod.rs").read_text()):
        found[name] = {"process": True, "open": None}.get(kind)
    assert len(found) > 90 and SOME.keys() <= found.keys()
    return found


def leb(number):
    low = bytes([number & 127])
    return low if number < 128 else bytes([low[0] | 128]) + leb(number >> 7)


def section(kind, content):
    return bytes([kind]) + leb(len(content)) + content


def module(*bodies, memories=0):
    """A core module with functions of these bodies."""
    body = lambda code: leb(len(code) + 1) + b"\0" + code
    parts = [section(1, b"\x01\x60\0\0"), section(3, leb(len(bodies)) + b"\0" * len(bodies))]
    parts += [section(5, leb(memories) + b"\0\1" * memories)] if memories else []
    return b"\0asm\1\0\0\0" + b"".join(parts) + section(10, leb(len(bodies)) + b"".join(map(body, bodies)))


def component(inner):
    return b"\0asm\x0d\0\1\0" + section(1, inner)


def files(evil):
    """What people and disks put there instead of a component."""
    flipped = bytearray(evil)
    flipped[len(evil) // 3] ^= 0x40
    return {
        "a text": b"this is no component\n", "a module": module(b"\x0b"), "truncated": evil[:len(evil) // 2],
        "bits flipped": bytes(flipped), "a hundred memories": component(module(b"\x0b", memories=100)),
        "deeply nested": component(module(b"\x02\x40\x41\0\x0d\0" * 200_000 + b"\x0b" * 200_001)),
        "many functions": component(module(*[b"\x41\1\x1a\x0b"] * 200_000)),
        "a long function": component(module(b"\x01" * 4_000_000 + b"\x0b")),
    }


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    out = tmp_path_factory.mktemp("guests")
    env = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
    subprocess.run([BINARY, "build", GUESTS, "--out", out], check=True, env=env)
    return out / "evil.wasm"


@pytest.mark.timeout(3600 if ALL else 240)
def test_neighbours_keep_their_throughput(tidemill, kafka, disk, name, evil, tmp_path):
    kafka.create(name)
    ours = tidemill.with_transforms(tmp_path / "transforms")
    with tempfile.TemporaryDirectory(prefix="run-") as runtime:
        host = ours.run(name, name, disk, "--catalog", "local", env={"XDG_RUNTIME_DIR": runtime})
        produce = tidemill.produce(name, 0, rate=RATE)
        alive = [host, produce]

        def status():
            asked = tidemill("status", "--pipeline", name, "--json", XDG_RUNTIME_DIR=runtime)
            assert asked.wait(20) == 0, asked.stderr
            return json.loads(asked.stdout.splitlines()[0])

        def shipped(now):
            return {t["file"]: t for t in now["transforms"] if t["file"] != "evil"}

        def offsets(now, which):
            return sum(p[which] or 0 for p in now["partitions"].values())

        def measured(before, seconds, done=lambda now: True):
            """From `before` on, for that long and until it is done: the share of what came meanwhile that was committed
            meanwhile, nanoseconds a row of the shipped transforms, and by how many seconds of events it was behind."""
            began, behind, now = time.monotonic(), 0, before
            while time.monotonic() - began < seconds or not done(now):
                assert time.monotonic() - began < 90 and all(p.alive() for p in alive), now
                time.sleep(0.2)
                now = status()
                behind = max(behind, sum(p["lag"] or 0 for p in now["partitions"].values()) / RATE)
            ns = {file: (t["busy_ns"] - shipped(before)[file]["busy_ns"])
                  / max(1, t["rows"]["input"] - shipped(before)[file]["rows"]["input"])
                  for file, t in shipped(now).items()}
            share = (offsets(now, "committed") - offsets(before, "committed")) / (offsets(now, "end") - offsets(before, "end"))
            return share, ns, behind

        def settled(now):
            """Each partition runs what it is to run, and is no further behind than a commit."""
            ours = now["partitions"]
            lags = [p["lag"] for p in ours.values()]
            return (len(lags) == 3 and None not in lags and sum(lags) < 1.5 * RATE
                    and all(p["set"] == now["set"] or p["fell_back_from"] for p in ours.values()) and now)

        until(lambda: settled(status()), 60, "the host keeps up", every=0.5, alive=alive)
        share, ns_alone, behind = measured(status(), 10)
        print(f"\n{RATE} events/s offered. alone: {share:.2f} of it committed, {behind:.1f} s behind, "
              + ", ".join(f"{f} {n:.0f} ns" for f, n in ns_alone.items()))
        worst = {}
        wanted = [(name, evil.read_bytes(), runs) for name, runs in (behaviours() if ALL else SOME).items()]
        wanted += [(name, content, False) for name, content in (files(evil.read_bytes()) if ALL else {}).items()]
        if EVIL not in ("", "all"):
            wanted = [one for one in wanted if one[0] in EVIL.split(",")]
            assert len(wanted) == len(EVIL.split(",")), "an unknown behaviour is named"
        for behaviour, content, runs in wanted:
            on = 'on = "/home"\n' if behaviour.endswith("on_value") else ""
            (ours.transforms / "evil.toml").write_text(
                f'[config]\ndo = "{behaviour}"\n{on}[limits]\npoison-rows = 3\ncall-ms = 200\n')
            before = status()
            draft = ours.transforms / "evil.new"
            draft.write_bytes(content)
            draft.rename(ours.transforms / "evil.wasm")

            def told():
                now = status()
                there = any(t["file"] == "evil" for t in now["transforms"])
                refused = any(r["file"] == "evil" for r in now["refused"])
                fell = any(p["fell_back_from"] for p in now["partitions"].values())
                # It did what it does, and a person is told, or it is live and does no harm.
                return (refused or fell or there and now["set"] != before["set"]) and now
            # A bomb keeps the child that compiles it busy for as long as it is allowed to.
            now = until(told, 150, f"{behaviour} is there", every=0.2, alive=alive)
            refused = [r["reason"] for r in now["refused"] if r["file"] == "evil"]
            assert refused or runs is not False, behaviour
            # Where it fails at work, the partition looks for the rows to blame, and goes back to the set before.
            share, ns, behind = measured(now, SECONDS, lambda now: settled(now))
            ratio = {file: ns[file] / ns_alone[file] for file in ns_alone}
            worst[behaviour] = share, max(ratio.values()), behind
            print(f"  {behaviour:22} {'refused  ' if refused else 'beside it'}  {share:.2f} of what came was committed, "
                  f"{behind:.1f} s behind at most, ns a row x {max(ratio.values()):.2f} at most"
                  + (f": {refused[0][-110:]}" if refused else ""))
            for file in ("evil.wasm", "evil.toml"):
                (ours.transforms / file).unlink()
            until(lambda: (now := status()) and not now["refused"] and
                  not any(t["file"] == "evil" for t in now["transforms"]) and settled(now), 60, "it is gone", every=0.3,
                  alive=alive)
        least, _, longest = (pick(column) for pick, column in zip((min, max, max), zip(*worst.values())))
        print(f"{len(worst)} of them: beside each at least {least:.2f} of what came meanwhile was committed meanwhile, and "
              f"nobody was more than {longest:.1f} s behind")
        # A commit more or less in a few seconds, on a machine that may be busy with other things.
        assert least > 0.5 and longest < 30, worst
        assert produce.stop(60) == 0
        assert host.stop(20) == 0
        assert re.search("poison|broken|stands still|not taken in|refused", host.stderr)

"""What an evil transform costs those that run beside it: their throughput and their time per row, before and beside.

TIDEMILL_TEST_EVIL=all takes every behaviour of the suite in `host/tests/evil/host.rs`; without it a few of each kind.
"""

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import pytest

from host import BINARY
from process import until

GUESTS = Path(__file__).resolve().parent.parent / "guests"
RATE = 10_000
SECONDS = 6
# Behaviour, and whether it ever runs beside the others.
SOME = [("loop_in_open", False), ("trap_in_snapshot", False), ("trap_on_value", True), ("memory_bomb_in_open", False),
        ("log_flood", True), ("exit", True)]
ALL = SOME + [("honest", True), ("name_traversal", False), ("table_of_another", False), ("loop_in_flush", False),
              ("flush_more_for_ever", False), ("snapshot_giant", False), ("error_on_value", True),
              ("stack_overflow", True), ("not_utf8", True), ("emitted_and_rejected", True), ("offsets_descend", True),
              ("print_flood", True), ("sleep_in_process", True), ("open_sockets", True)]


@pytest.fixture(scope="module")
def evil(tmp_path_factory):
    out = tmp_path_factory.mktemp("guests")
    env = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}
    subprocess.run([BINARY, "build", GUESTS, "--out", out], check=True, env=env)
    return out / "evil.wasm"


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

        def measured():
            """Events a second, and nanoseconds a row of the shipped transforms, over a few seconds."""
            before, began = status(), time.monotonic()
            until(lambda: time.monotonic() - began > SECONDS, SECONDS + 5, "time goes by", alive=alive)
            after, took = status(), time.monotonic() - began
            ns = {file: (t["busy_ns"] - shipped(before)[file]["busy_ns"])
                  / max(1, t["rows"]["input"] - shipped(before)[file]["rows"]["input"])
                  for file, t in shipped(after).items()}
            return (after["events"] - before["events"]) / took, ns

        def settled(now):
            lags = [p["lag"] for p in now["partitions"].values()]
            return (len(lags) == 3 and None not in lags and sum(lags) < 3 * RATE
                    and all(p["set"] == now["set"] or p["fell_back_from"] for p in now["partitions"].values()) and now)

        until(lambda: settled(status()), 60, "the host keeps up", every=0.5, alive=alive)
        alone, ns_alone = measured()
        print(f"\n{RATE} events/s offered. alone: {alone:.0f} events/s, "
              + ", ".join(f"{f} {n:.0f} ns" for f, n in ns_alone.items()))
        worst = {}
        for behaviour, runs in ALL if os.environ.get("TIDEMILL_TEST_EVIL") == "all" else SOME:
            on = 'on = "/home"\n' if behaviour.endswith("on_value") else ""
            (ours.transforms / "evil.toml").write_text(
                f'[config]\ndo = "{behaviour}"\n{on}[limits]\npoison-rows = 3\ncall-ms = 200\n')
            before = status()
            draft = ours.transforms / "evil.new"
            shutil.copy(evil, draft)
            draft.rename(ours.transforms / "evil.wasm")

            def told():
                now = status()
                there = any(t["file"] == "evil" for t in now["transforms"])
                refused = any(r["file"] == "evil" for r in now["refused"])
                fell = any(p["fell_back_from"] for p in now["partitions"].values())
                # It did what it does, and a person is told, or it is live and does no harm.
                return (refused or fell or there and now["set"] != before["set"]) and now
            now = until(told, 60, f"{behaviour} is there", every=0.2, alive=alive)
            if not runs:
                assert any(r["file"] == "evil" for r in now["refused"]), (behaviour, now["refused"])
            began = time.monotonic()
            until(lambda: settled(status()), 60, f"the host keeps up beside {behaviour}", every=0.3, alive=alive)
            caught_up = time.monotonic() - began
            rate, ns = measured()
            ratio = {file: ns[file] / ns_alone[file] for file in ns_alone}
            worst[behaviour] = rate / alone, max(ratio.values())
            print(f"  {behaviour:22} {'beside it' if runs else 'refused  '}  {rate:6.0f} events/s ({rate / alone:.2f} of "
                  f"alone), ns a row x {max(ratio.values()):.2f} at most, kept up after {caught_up:.1f} s")
            for file in ("evil.wasm", "evil.toml"):
                (ours.transforms / file).unlink()
            until(lambda: (now := status()) and not now["refused"] and
                  not any(t["file"] == "evil" for t in now["transforms"]) and settled(now), 60, "it is gone", every=0.3,
                  alive=alive)
        # The same load is worked off, on a machine that may be busy with other things.
        assert min(share for share, _ in worst.values()) > 0.5, worst
        assert produce.stop(60) == 0
        assert host.stop(20) == 0
        assert re.search("poison|broken|stands still|not taken in|refused", host.stderr)

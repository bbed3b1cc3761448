"""`tidemill demo`, as a newcomer starts it: in a fresh checkout, with no server of any kind."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import duckdb
import pytest

from host import BINARY
from lake import Folder, Lake
from process import Process

ROOT = Path(__file__).resolve().parents[2]
# It compiles transforms, so it needs the machine's own environment, less this suite's settings.
ENV = {k: v for k, v in os.environ.items() if not k.startswith("TIDEMILL_")}


@pytest.fixture
def checkout(tmp_path):
    """The files that git knows, in a folder of their own."""
    files = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT,
                           check=True, capture_output=True).stdout.decode().split("\0")
    for file in filter(None, files):
        if (ROOT / file).is_file():
            (tmp_path / "checkout" / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / file, tmp_path / "checkout" / file)
    return tmp_path / "checkout"


def test_the_demo_fills_a_lake(checkout, monkeypatch):
    target = os.environ.get("CARGO_TARGET_DIR", ROOT / "target")
    demo = Process("tidemill-demo", [BINARY, "demo", "--for", "20s"], {**ENV, "CARGO_TARGET_DIR": target}, checkout)
    assert demo.wait(200) == 0
    print(demo.stdout)

    folder = checkout / "tidemill-demo"
    lake = Lake(Folder(folder / "raw"), Folder(folder / "processed"))
    db = lake.open()
    raw, = db.sql("select count(*) from user_events_raw").fetchall()[0]
    good, = db.sql("select count(*) from user_events").fetchall()[0]
    minutes, = db.sql("select sum(events) from user_activity_per_minute").fetchall()[0]
    active, = db.sql("select sum(events) from active_users where period = 'minute'").fetchall()[0]
    print(f"raw {raw}, user_events {good}, rejected {len(lake.rejected())}, per minute {minutes}")
    assert raw > 1_000 and good > 0.9 * raw
    assert good + len(lake.rejected()) == raw
    assert minutes == active == good

    said = demo.stdout + demo.stderr
    assert "tidemill-demo" in said, "it says where the files are"
    query = re.search(r'duckdb -c "(.+?)"$', said, re.M | re.S)
    assert query, "it prints a query that is ready to paste"
    monkeypatch.chdir(checkout)
    rows = duckdb.sql(query[1]).fetchall()
    print(query[1], *rows[:5], sep="\n")
    assert rows


def test_outside_a_checkout_it_asks_for_transforms(tmp_path):
    demo = Process("tidemill-demo", [BINARY, "demo", "--for", "2s"], ENV, tmp_path)
    assert demo.wait(20) == 2
    assert "--transforms" in demo.stderr

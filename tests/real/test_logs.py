"""The log of a host that nobody watches: JSON lines, a commit in one of them, and nothing that is not for others."""

import json
import re
import uuid

from pipeline import Pipeline
from process import free_port, until


def test_a_log_of_json_lines_tells_commits_and_keeps_secrets(tidemill, kafka, disk, name):
    kafka.create(name)
    secret, content = f"secret-{uuid.uuid4().hex}", f"content-{uuid.uuid4().hex}"
    quiet = {key: value for key, value in tidemill.env.items() if key != "TIDEMILL_LOG_FORMAT"}
    shipped, tidemill.env = tidemill.env, quiet
    try:
        host = Pipeline(tidemill, name, name, disk, "--catalog", "local").run(
            "-X", f"ssl.key.password={secret}", "--http", f"127.0.0.1:{free_port()}",
            env={"TIDEMILL_HTTP_TOKEN": secret})
    finally:
        tidemill.env = shipped
    host.says(re.compile("partitions assigned"), 60)
    producer = kafka.producer()
    good = {"user_id": content, "event_type": "click", "timestamp": "2026-11-29T10:00:00Z", "page": f"/{content}"}
    for value in (json.dumps(good), f'{{"user_id": "{content}"', f'{{"user_id": "{content}", "page": 7}}', content):
        for _ in range(50):
            producer.produce(name, value.encode(), key=content.encode())
    assert producer.flush(30) == 0
    host.says(re.compile('"message":"committed"'), 30)
    until(lambda: disk.count("rejected_events") == 150, 30, "all are rejected that are bad", every=0.3, alive=[host])
    assert host.stop(20) == 0
    lines = [json.loads(line) for line in host.stderr.splitlines()]
    assert all({"timestamp", "level", "message"} <= set(line) for line in lines), lines
    commits = [line for line in lines if line["message"] == "committed"]
    assert sum(line["events"] for line in commits) == 200 and sum(line["rejected"] for line in commits) == 150
    assert all({"record", "partitions", "files", "bytes", "took", "freshness"} <= set(line) for line in commits)
    print(f"{len(lines)} lines, the first commit: {commits[0]}")
    assert secret not in host.stderr and content not in host.stderr


"""What a deployment looks at: `tidemill health`, and the pulse in the log."""

import json

from process import free_port, until

FIELDS = {"lag", "waiting_seconds", "commits", "events", "rejected", "ready", "partitions"}


def start(tidemill, kafka, disk, name, port, *arguments, **env):
    brokers = () if "--brokers" in arguments else ("--brokers", kafka.brokers)
    return tidemill("run", *brokers, "--topic", name, "--group", name, *disk.arguments(), "--catalog",
                    "local", "--transforms", tidemill.transforms, "--commit-interval", "1s", *arguments,
                    **{"TIDEMILL_HTTP": f"127.0.0.1:{port}", **env})


def test_health_tells_a_host_that_works_from_one_that_does_not(tidemill, kafka, disk, name):
    port, token = free_port(), "made-up-" + name
    ask = lambda *arguments, **env: tidemill("health", *arguments, **{"TIDEMILL_HTTP": f"127.0.0.1:{port}", **env})
    nobody = ask()
    assert nobody.wait(20) == 1 and f"no host answers at 127.0.0.1:{port}" in nobody.stderr
    off = ask(TIDEMILL_HTTP="off")
    assert off.wait(20) == 2 and "`http` is off" in off.stderr

    kafka.create(name)
    host = start(tidemill, kafka, disk, name, port, TIDEMILL_HTTP=f"0.0.0.0:{port}", TIDEMILL_HTTP_TOKEN=token)
    until(lambda: ask().wait(20) == 0, 30, "it is alive", alive=[host])
    # As its container would ask: by the address that it listens at.
    inside = {"TIDEMILL_HTTP": f"0.0.0.0:{port}", "TIDEMILL_HTTP_TOKEN": token}
    until(lambda: ask("--ready", **inside).wait(20) == 0, 30, "it is ready", alive=[host])
    assert host.stop(20) == 0
    gone = ask(**inside)
    assert gone.wait(20) == 1

    # Alive, but not ready: it waits for brokers.
    host = start(tidemill, kafka, disk, name, port, "--brokers", "127.0.0.1:1")
    until(lambda: ask().wait(20) == 0, 30, "it is alive", alive=[host])
    unready = ask("--ready")
    assert unready.wait(20) == 1 and "503" in unready.stderr and "assigned" in unready.stderr, unready.stderr
    assert host.stop(20) == 0


def test_the_pulse_is_one_line_of_json_with_all_that_alarms_need(tidemill, kafka, disk, name):
    kafka.create(name)
    host = start(tidemill, kafka, disk, name, 0, "--pulse", "1s", TIDEMILL_HTTP="off", TIDEMILL_LOG_FORMAT="json")
    beats = lambda: [b for b in map(json.loads, host.stderr.splitlines()) if b["message"] == "pulse"]
    until(lambda: len(beats()) > 1 and beats()[-1]["ready"] == 1, 60, "its heart beats", alive=[host])
    assert tidemill.produce(name, 2000).wait(60) == 0
    until(lambda: sum(b["events"] for b in beats()) == 2000 and beats()[-1]["lag"] == 0, 60, "all of it is told", alive=[host])
    told = beats()
    assert host.stop(20) == 0
    assert all(FIELDS <= b.keys() and b["level"] == "INFO" and b["timestamp"] for b in told)
    busy = [b for b in told if b["commits"]]
    print(busy)
    assert busy and all(0 < b["freshness_seconds"] < 30 for b in busy)
    assert all("freshness_seconds" not in b for b in told if not b["commits"]), "nothing was committed: nothing is told"
    assert sum(b["rejected"] for b in told) == disk.count("rejected_events") > 0
    assert told[-1]["partitions"] == 3 and told[-1]["waiting_seconds"] == 0

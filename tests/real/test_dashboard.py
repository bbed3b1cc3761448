"""The dashboard in Chromium, served by a real host: what it draws is what DuckDB computes from the tables."""

import hashlib
import json
import time
from datetime import datetime, timedelta, timezone

import pytest

from browser import Chromium
from lake import Lake
from pipeline import Pipeline
from process import free_port, listens, until

FIRST, MORE = 6_000, 1_500
# A name that would be a script, a picture and a steered line if anything took it for more than text.
EVIL = "/<img src=x onerror=\"document.title='evil'\">\u202e"
WEIGHT = 60_000


class House:
    """A pipeline with a host that serves the page."""

    def __init__(self, tidemill, kafka, folder):
        self.tidemill, self.kafka, self.name = tidemill.with_transforms(folder / "transforms"), kafka, "dashboard"
        self.pipeline = Pipeline(self.tidemill, self.name, self.name, Lake.within(folder), "--catalog", "local")
        self.port = free_port()
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}/"
        kafka.create(self.name)
        self.start()

    def start(self, **env):
        self.host = self.pipeline.run("--http", self.address, env=env)

    def produce(self, count, *arguments):
        made = self.tidemill("produce", "--brokers", self.kafka.brokers, "--topic", self.name, "--count", count,
                             "--bad", "0.02", "--seed", count, *arguments)
        assert made.wait(60) == 0, made.stderr[-2000:]

    def send_evil(self, count):
        producer, at = self.kafka.producer(), datetime.now(timezone.utc) - timedelta(minutes=2)
        for n in range(count):
            event = {"user_id": f"user_{n}", "event_type": "click", "timestamp": at.isoformat(), "page": EVIL,
                     "session_id": f"s{n}", "device": "mobile"}
            producer.produce(self.name, json.dumps(event), event["user_id"])
        assert producer.flush(30) == 0

    def all_committed(self):
        """Waits until everything in the topic is in the lake."""
        raw = lambda: self.pipeline.lake.count(self.pipeline.raw)
        until(lambda: raw() == sum(self.kafka.ends(self.name).values()), 60, "all is committed", 0.3, [self.host])


@pytest.fixture(scope="module")
def house(tidemill, kafka, tmp_path_factory):
    house = House(tidemill, kafka, tmp_path_factory.mktemp("lake"))
    house.produce(FIRST, "--spread", "50m")
    house.send_evil(300)
    house.all_committed()
    yield house
    house.host.stop(10)


@pytest.fixture(scope="module")
def chromium():
    chromium = Chromium()
    yield chromium
    chromium.close()


@pytest.fixture
def opened(chromium, house):
    """Opens the page at that view. At the end nothing may have gone wrong that a test has not expected."""
    pages = []
    def open_(view="activity", **how):
        pages.append(chromium.open(f"{house.url}#{view}", **how))
        pages[-1].until_drawn()
        return pages[-1]
    yield open_
    for page in pages:
        wrong = list(page.wrong)
        page.context.close()
        assert wrong == []


def expected(house, drawn):
    """What the tables say of the window that the page has drawn, in the form of `Dashboard.drawn`."""
    db = house.pipeline.lake.open()
    hour = drawn["range"] == "hour"
    step, period = ("1 minute", "hour") if hour else ("15 minutes", "day")
    within = f"window_start >= timestamptz '{drawn['from']}' and window_start < timestamptz '{drawn['to']}'"
    rows = lambda query: db.sql(query).fetchall()

    def series(values):
        return rows(f"""with found as ({values})
            select strftime(t, '%Y-%m-%dT%H:%M:%SZ'), coalesce(n, 0)::bigint
            from (select unnest(generate_series(timestamptz '{drawn['from']}', timestamptz '{drawn['to']}' - interval {step},
                                                interval {step})) as t) left join found using (t) order by t""")

    def names(table, column, most):
        found = rows(f"""select {column}, sum(events)::bigint from {table} where {within}
                         group by all order by 2 desc, 1""")
        return found[:most]

    now, = rows(f"""select coalesce(sum(users), 0)::bigint, coalesce(sum(sessions), 0)::bigint from active_users
                    where period = '{period}' and window_start = date_trunc('{period}', timestamptz '{drawn['at']}')""")
    minutes = f"select window_start, sum(users) as n from active_users where period = 'minute' and {within} group by all"
    return {
        "series": {
            "events": series(f"""select time_bucket(interval {step}, window_start) as t, sum(events) as n
                                 from user_activity_per_minute where {within} group by all"""),
            "users": series(f"select time_bucket(interval {step}, window_start) as t, max(n) as n from ({minutes}) group by all"),
        },
        "names": {
            "event_types": names("user_activity_per_minute", "event_type", 20),
            "devices": names("user_activity_per_minute", "device", 20),
            "pages": names("user_pages_per_minute", "page", 10),
            "locations": names("user_locations_per_minute", "location", 10),
        },
        "totals": {"events": rows(f"select coalesce(sum(events), 0)::bigint from user_activity_per_minute where {within}")[0][0],
                   "users": now[0], "sessions": now[1]},
    }


def as_said(drawn):
    """The same of what is drawn."""
    second = lambda at: datetime.fromisoformat(at).astimezone(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    return {
        "series": {name: [(second(at), value) for at, value in rows] for name, rows in drawn["series"].items()},
        "names": {name: [tuple(row) for row in rows] for name, rows in drawn["names"].items()},
        "totals": {name: value or 0 for name, (value, _) in drawn["totals"].items()},
    }


def agrees(house, page, seconds=20):
    """Waits until the page shows what the tables say, once production has stopped; returns what it drew."""
    end = time.monotonic() + seconds
    while True:
        drawn = page.drawn()
        found, wanted = as_said(drawn), expected(house, drawn)
        if found == wanted:
            return drawn
        if time.monotonic() > end:
            for kind, charts in wanted.items():
                for name, rows in charts.items():
                    assert found[kind][name] == rows, f"{name} ({drawn['from']} to {drawn['to']})"
        time.sleep(0.2)


def proportional(sizes, values):
    """Whether sizes are to each other as the values are, to a pixel."""
    most = max(values)
    scale = sizes[values.index(most)] / most
    return scale > 0 and all(abs(size - scale * value) < 1 for size, value in zip(sizes, values, strict=True))


def test_it_is_light_and_asks_nobody_else(opened):
    opened()  # the browser has started
    page = opened()
    page.until_state("live")
    weights = page.weight()
    loaded, drawn = page.page.evaluate("""[performance.getEntriesByType('navigation')[0].loadEventEnd,
                                           performance.getEntriesByName('drawn')[0].startTime]""")
    print(f"the page weighs {sum(weights.values())} bytes in {len(weights)} files: {weights}")
    print(f"load event after {loaded:.0f} ms, drawn with its data after {drawn:.0f} ms")
    assert {"/", "/style.css", "/app.js", "/icon.svg"} <= set(weights) and sum(weights.values()) < WEIGHT
    assert all(200 <= response.status < 300 for response in page.requests)
    policy = page.requests[0].headers["content-security-policy"]
    assert "default-src 'self'" in policy and "unsafe" not in policy
    page.shot("activity-light")


@pytest.mark.parametrize("view", ["activity", "activity/day"])
def test_each_chart_is_what_the_tables_say(house, opened, view):
    page = opened(view)
    drawn = agrees(house, page)
    assert drawn["range"] == ("day" if view.endswith("day") else "hour")
    steps = [value for _, value in drawn["series"]["events"]]
    good = house.pipeline.lake.count("user_events")
    assert len(steps) == (96 if drawn["range"] == "day" else 60) and sum(steps) == good > 0.9 * FIRST
    assert len(drawn["names"]["pages"]) == 10 and len(drawn["names"]["event_types"]) == 5
    assert drawn["names"]["devices"] and max(value for _, value in drawn["series"]["users"]) > 100
    # It is drawn and written as it is noted.
    for name, rows in drawn["series"].items():
        assert proportional(drawn["sizes"][name], [value for _, value in rows]), name
    for name, rows in drawn["names"].items():
        assert proportional([300 * share for share in drawn["shares"][name]], [value for _, value in rows]), name
        assert [amount for _, amount in drawn["words"][name]] == [f"{value:,}" for _, value in rows]
    assert drawn["totals"]["events"] == [good, f"{good:,}"]


def test_a_name_is_text_whatever_it_says(house, opened):
    page = opened()
    drawn = agrees(house, page)
    assert drawn["names"]["pages"][0] == [EVIL, 300]
    assert drawn["words"]["pages"][0][0] == EVIL.replace("\u202e", "\ufffd")
    assert page.page.locator("main img").count() == 0 and page.page.title() == "Activity · Tidemill"


def test_numbers_rise_without_a_reload(house, opened):
    page = opened()
    page.until_state("live")
    before = agrees(house, page)["totals"]["events"][0]
    house.produce(MORE)
    began = time.monotonic()
    page.until(f"Number(document.querySelector('[data-total=events]').dataset.value) > {before}")
    print(f"the numbers moved {time.monotonic() - began:.1f} s after the last event was sent")
    house.all_committed()
    drawn = agrees(house, page)
    assert drawn["totals"]["events"][0] == house.pipeline.lake.count("user_events") > before + 0.9 * MORE
    assert page.still_the_same() and sum("/api/live" in url for url in page.asked) == 1


def test_operators_see_what_the_host_does(house, opened):
    page = opened("operations")
    ends = house.kafka.ends(house.name)
    seen = lambda: {name: int(value) for name, value in page.page.evaluate(
        "[...document.querySelectorAll('#partitions tbody tr')].map((e) => [e.dataset.name, e.dataset.value ?? -1])")}
    until(lambda: seen() == {str(p): 0 for p in ends}, 20, "each partition has no lag", 0.2)
    committed = page.page.locator("#partitions td[data-label=Committed]").all_text_contents()
    assert committed == [f"{ends[p]:,}" for p in sorted(ends)]

    digests = {file.stem: hashlib.sha256(file.read_bytes()).hexdigest() for file in house.tidemill.transforms.glob("*.wasm")}
    shown = dict(page.page.evaluate("[...document.querySelectorAll('#transforms tbody tr')].map((e) => [e.dataset.name, e.dataset.digest])"))
    assert shown == digests and len(shown) >= 4
    assert set(page.page.locator("#transforms td[data-label=State]").all_text_contents()) == {"live"}

    rejects = dict(house.pipeline.lake.open().sql("select reason, count(*) from rejected_events group by all").fetchall())
    found = lambda: {name: int(value) for name, value in page.page.evaluate(
        "[...document.querySelectorAll('[data-chart=rejects] li')].map((e) => [e.dataset.name, e.dataset.value])")}
    until(lambda: found() == rejects, 10, "rejects are by reason", 0.2)
    assert len(rejects) >= 4

    records = [int(text.replace(",", "")) for text in page.page.locator("#commits td[data-label=Record]").all_text_contents()]
    assert records == sorted(records, reverse=True) and set(records) <= set(house.pipeline.slots())
    assert page.page.locator("#attention").is_hidden() and page.page.locator("#badge").is_hidden()
    page.shot("operations-light")

    broken = house.tidemill.transforms / "broken.wasm"
    broken.write_bytes(b"this is no WebAssembly\n")
    page.page.locator("#attention").wait_for(timeout=30_000)
    line, = page.page.locator("#attention li").all_text_contents()
    assert line.startswith("broken.wasm was not taken in") and page.page.locator("#badge b").text_content() == "1"
    assert page.page.locator("#refused td[data-label=File]").all_text_contents() == ["broken.wasm"]
    page.shot("operations-attention")
    broken.unlink()
    page.page.locator("#attention").wait_for(state="hidden", timeout=30_000)
    assert page.still_the_same()


def test_keys_reach_everything(opened):
    page = opened()
    keys = page.page.keyboard
    focused = lambda script: page.page.evaluate(f"(() => {{ const e = document.activeElement; return {script}; }})()")
    keys.press("Tab")
    assert focused("e.getAttribute('href')") == "#content"
    for wanted in ("activity", "operations"):
        keys.press("Tab")
        assert focused("e.dataset.view") == wanted
    keys.press("Enter")
    page.page.locator("#view-operations").wait_for()
    assert page.page.locator("nav a[aria-current=page]").text_content().strip().startswith("Operations")
    page.page.go_back()
    page.page.locator("#view-activity").wait_for()
    # A chart is walked through by arrows, and says where one is.
    plot = page.page.locator("[data-chart=events] .plot")
    plot.focus()
    keys.press("Home")
    first = plot.get_attribute("aria-valuetext")
    keys.press("ArrowRight")
    second, at = plot.get_attribute("aria-valuetext"), plot.get_attribute("aria-valuenow")
    assert first != second and at == "1" and second.endswith("events")
    assert page.page.locator("[data-chart=events] .at").count() == 1
    # The same as a table.
    page.page.locator("[data-chart=events] summary").press("Enter")
    rows = page.page.locator("[data-chart=events] tbody tr")
    rows.first.wait_for()
    assert rows.count() == 60


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 360])
@pytest.mark.parametrize("view", ["activity", "operations"])
def test_it_fits_and_is_readable(opened, view, width, scheme):
    page = opened(view, width=width, color_scheme=scheme, reduced_motion="reduce")
    page.until_state("live")
    assert page.wider() <= 0
    assert page.violations() == []
    ground = page.page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).slice(0, 3).map(Number)")
    assert (sum(ground) < 150) == (scheme == "dark"), ground
    page.shot(f"{view}-{width}-{scheme}")


def test_it_comes_back_when_the_host_does(house, opened):
    page = opened()
    page.until_state("live")
    before = agrees(house, page)
    assert house.host.stop(10) == 0
    page.until_state("reconnecting")
    page.page.locator(".notice.bad").wait_for()
    assert page.drawn()["totals"] == before["totals"], "what was known is still shown"
    house.start()
    page.until_state("live", 60)
    house.produce(MORE)
    house.all_committed()
    after = agrees(house, page)["totals"]["events"][0]
    assert after > before["totals"]["events"][0] and page.still_the_same()
    page.page.locator(".notice").wait_for(state="hidden")
    # While it was away the browser said so; nothing else may have gone wrong.
    assert all("ERR_CONNECTION" in said or "ERR_INCOMPLETE" in said or "ERR_EMPTY" in said for said in page.wrong), page.wrong
    page.wrong.clear()


def test_a_token_is_asked_for_once(house, chromium):
    house.host.stop(10)
    house.start(TIDEMILL_HTTP_TOKEN="made-up")
    until(lambda: listens(house.port), 30, "it listens", alive=[house.host])
    with chromium.open(house.url) as page:
        page.page.locator("#token").wait_for()
        assert page.page.locator("#view-activity").is_hidden() and page.violations() == []
        for token, said in (("wrong", "not this host's token"), ("made-up", None)):
            page.page.fill("#token-value", token)
            page.page.keyboard.press("Enter")
            if said:
                page.page.get_by_text(said).wait_for()
        page.until_drawn()
        page.until_state("live")
        assert all("401" in said for said in page.wrong), page.wrong
        page.page.reload()
        page.until_state("live")
    with chromium.open(f"{house.url}?token=made-up#operations") as page:
        page.until_drawn()
        page.until_state("live")
        assert page.page.url == f"{house.url}#operations" and page.wrong == []

// The view of those who run it: what the host says of itself.

import { bars, Series } from "./charts.js";
import { $, bytes, clockSeconds, duration, el, number, plural, resize, say, set, short, table, when } from "./dom.js";

/** What is promised: an event is in the lake within ten seconds. */
const GOAL_MS = 10_000;
/** A rate is one of the last minute. */
const MINUTE = 60_000;
/** Commits that are listed. */
const LISTED = 12;

const figure = (name) => document.querySelector(`[data-chart="${name}"]`);
const view = $("view-operations");
let series = null;

function make() {
  const time = Object.assign((at) => clockSeconds(at), { axis: clockSeconds, round: false });
  series = {
    throughput: new Series(figure("throughput"), { name: "Events a second, by commit", kind: "bars", time,
      value: (v) => `${short(round(v))} events/s` }),
    freshness: new Series(figure("freshness"), { name: "Age of the oldest event when readers could see it, by commit",
      kind: "line", time, value: duration, axis: (v) => (v === 0 ? "0" : duration(v)), fractions: true, over: GOAL_MS }),
  };
  series.throughput.follow = (at) => series.freshness.show(at);
  series.freshness.follow = (at) => series.throughput.show(at);
}

const round = (v) => (v < 10 ? Math.round(v * 10) / 10 : Math.round(v));

/** Events a second of each commit, since the one before it. */
function rates(recent) {
  const pairs = recent.slice(1).map((commit, at) => {
    const seconds = (Date.parse(commit.at) - Date.parse(recent[at].at)) / 1000;
    return { at: commit.at, value: seconds > 0 ? commit.events / seconds : null };
  });
  return pairs;
}

/** Events a second in the last minute; null: nothing is known yet. */
function rate(recent, now) {
  if (recent.length < 2) return null;
  const since = recent.filter((commit) => now - Date.parse(commit.at) <= MINUTE);
  if (since.length < 2) return 0;
  const seconds = (Date.parse(since[since.length - 1].at) - Date.parse(since[0].at)) / 1000;
  return seconds > 0 ? since.slice(1).reduce((sum, commit) => sum + commit.events, 0) / seconds : null;
}

function health(status) {
  const now = Date.parse(status.at);
  const recent = status.recent ?? [];
  const partitions = Object.values(status.partitions);
  const lags = partitions.map((one) => one.lag).filter((lag) => lag !== null && lag !== undefined);
  const silent = partitions.length - lags.length;
  const fresh = recent.filter((commit) => commit.freshness_ms !== null && commit.freshness_ms !== undefined);
  const newest = fresh[fresh.length - 1]?.freshness_ms ?? null;
  const speed = rate(recent, now);
  const facts = [
    ["Ready", status.ready ? "yes" : "no", status.ready ? "" : "see Readiness below", status.ready ? "" : "bad"],
    ["Throughput", speed === null ? "–" : `${short(round(speed))}/s`, `${number(status.events)} events since it started`],
    ["Freshness", duration(newest), newest === null ? "no commit yet" : `goal: ${duration(GOAL_MS)}`, newest > GOAL_MS ? "bad" : ""],
    ["Lag", lags.length ? number(lags.reduce((a, b) => a + b, 0)) : "–",
      silent ? `${plural(silent, "partition")} not known` : plural(partitions.length, "partition")],
    ["Commits", number(status.commits), status.abandoned ? `${plural(status.abandoned, "epoch")} abandoned` : "no epoch abandoned"],
    ["Last commit", status.last_commit ? `${duration(Math.max(0, now - Date.parse(status.last_commit.at)))} ago` : "–",
      status.last_commit ? `record ${record(status.last_commit)}` : "none yet"],
  ];
  const make = () => el("div", {}, el("dt"), el("dd"), el("dd", { class: "note" }));
  const boxes = resize($("health"), facts.length, make);
  facts.forEach(([name, value, note, kind], at) => {
    const [title, main, small] = boxes[at].children;
    say(title, name);
    say(set(main, { class: kind || null, "data-fact": name.toLowerCase().replace(" ", "-") }), value);
    say(small, note);
  });
}

function attention(status) {
  const lines = status.attention ?? [];
  set($("attention"), { hidden: lines.length === 0 });
  const items = resize($("attention-lines"), lines.length, () => el("li"));
  lines.forEach((line, at) => say(items[at], line));
}

function state(one) {
  if (one.paused) return { text: "stands still", kind: "bad" };
  if (one.fell_back_from !== null && one.fell_back_from !== undefined) {
    return { text: `fell back from set ${one.fell_back_from}`, kind: "bad" };
  }
  return one.error ? { text: "in trouble", kind: "bad" } : { text: "running", kind: "good" };
}

function partitions(status) {
  const rows = Object.entries(status.partitions).map(([partition, one]) => ({ partition, ...one }));
  rows.sort((a, b) => a.partition - b.partition);
  const most = Math.max(1, ...rows.map((row) => row.lag ?? 0));
  const columns = [
    { name: "Partition", kind: "number", cell: (row) => row.partition },
    { name: "State", cell: (row) => ({ ...state(row), title: row.error }) },
    { name: "Lag", kind: "number lag", cell: (row) => ({ text: number(row.lag), bar: (row.lag ?? 0) / most }) },
    { name: "Freshness", kind: "number", cell: (row) => ({ text: duration(row.freshness_ms), kind: row.freshness_ms > GOAL_MS ? "bad" : "" }) },
    { name: "Committed", kind: "number", cell: (row) => number(row.committed) },
    { name: "End", kind: "number", cell: (row) => number(row.end) },
    { name: "Last commit", kind: "number", cell: (row) => when(row.last_commit, status.at) },
    { name: "Lane", kind: "number", cell: (row) => number(row.lane) },
    { name: "Set", kind: "number", cell: (row) => number(row.set) },
  ];
  // Only a partition in trouble has something to say.
  if (rows.some((row) => row.error)) columns.push({ name: "Trouble", kind: "wide", cell: (row) => row.error ?? "" });
  const box = $("partitions");
  if (box.dataset.columns !== String(columns.length)) box.replaceChildren();
  box.dataset.columns = columns.length;
  table(box, "Partitions of this host", columns, rows, {
    empty: "No partitions: the group has not given it any.",
    attributes: (row) => ({ "data-name": row.partition, "data-value": row.lag }),
  });
}

/** A commit's record, with the number of its log where there are several. */
function record(commit) {
  return (commit.log ?? null) === null ? number(commit.record) : `${commit.log}/${number(commit.record)}`;
}

/** Where the transforms are named. */
function sets(status) {
  const logs = status.logs ?? [];
  if (!logs.length) return `The set of record ${number(status.set)}`;
  const ours = logs.map((one, log) => ({ ...one, log })).filter((one) => one.partitions.length && one.set !== null);
  const named = ours.slice(0, 8).map((one) => `${one.log}/${number(one.set)}`).join(", ");
  return `The sets of ${logs.length} logs${named ? `, records ${named}` : ""}`;
}

function transforms(status) {
  const stalled = status.stalled_us === null || status.stalled_us === undefined ? "" :
    ` The last change held the lanes up for ${duration(status.stalled_us / 1000)}.`;
  say($("set"), status.set === null ? "" : `${sets(status)}, from ${status.host.transforms}.${stalled}`);
  const rows = status.transforms;
  const columns = [
    { name: "Name", cell: (row) => ({ text: row.name, title: `${row.file}.wasm`, kind: "strong" }) },
    { name: "Version", cell: (row) => row.version },
    { name: "Digest", cell: (row) => ({ text: row.digest.slice(0, 12), title: row.digest, kind: "code" }) },
    { name: "State", cell: (row) => ({ text: row.state.replaceAll("-", " "), kind: { live: "good", "fell-back": "bad", "stands-still": "bad" }[row.state] ?? "" }) },
    { name: "Partitions", cell: (row) => row.partitions.join(", ") || "none" },
    { name: "Since", kind: "number", cell: (row) => when(row.since, status.at) },
    { name: "Per row", kind: "number", cell: (row) => (row.ns_per_row === null || row.ns_per_row === undefined ? "–" : `${number(row.ns_per_row)} ns`) },
    { name: "Rows in", kind: "number", cell: (row) => number(row.rows.input) },
    ...["emitted", "rejected", "filtered", "absorbed"].map((kind) => (
      { name: kind[0].toUpperCase() + kind.slice(1), kind: "number", cell: (row) => number(row.rows[kind]) })),
  ];
  table($("transforms"), "Transforms", columns, rows, {
    empty: status.set === null ? "The host is starting." : "No transforms: only raw events are written.",
    attributes: (row) => ({ "data-name": row.name, "data-digest": row.digest }),
  });
  const ill = rows.filter((row) => row.last_error);
  const lines = resize($("errors"), ill.length, () => el("p"));
  ill.forEach(({ name, last_error: { at, partition, error } }, n) =>
    say(lines[n], `Last error of ${name}, ${when(at, status.at)}, partition ${partition}: ${error}`));
}

function refused(status) {
  set($("refused-section"), { hidden: status.refused.length === 0 });
  const columns = [
    { name: "When", cell: (row) => when(row.at, status.at) },
    { name: "File", cell: (row) => (row.file ? `${row.file}.wasm` : "the directory, or a set of another host") },
    { name: "Reason", kind: "wide", cell: (row) => row.reason },
  ];
  table($("refused"), "Changes that were refused", columns, status.refused);
}

function commits(status) {
  const rows = [...(status.recent ?? [])].reverse().slice(0, LISTED);
  const columns = [
    { name: "Record", kind: "number", cell: record },
    { name: "When", kind: "number", cell: (row) => when(row.at, status.at) },
    { name: "Events", kind: "number", cell: (row) => number(row.events) },
    { name: "Freshness", kind: "number", cell: (row) => ({ text: duration(row.freshness_ms), kind: row.freshness_ms > GOAL_MS ? "bad" : "" }) },
    { name: "Took", kind: "number", cell: (row) => duration(row.took_ms) },
    { name: "Files", kind: "number", cell: (row) => number(row.files) },
    { name: "Size", kind: "number", cell: (row) => bytes(row.bytes) },
  ];
  table($("commits"), `The last ${LISTED} commits of this host`, columns, rows, { empty: "No commit yet.", stack: false });
}

/** What is to be said above the view: [text, kind]. */
export function notices(status) {
  if (!status) return [];
  return status.set === null ? [["The host is starting: brokers, zones or catalog have not answered yet. Its log says which.", "busy"]] : [];
}

/** Draws the view. */
export function render(status) {
  if (!series) make();
  set(view, { "aria-busy": "false", "data-at": status.at });
  const { host } = status;
  say($("about"), `Pipeline ${host.pipeline}, topic ${host.topic}, host ${host.name}, process ${host.pid}, ` +
    `tidemill ${host.version}, up ${duration(Date.parse(status.at) - Date.parse(host.started))}`);
  attention(status);
  health(status);
  const recent = status.recent ?? [];
  const few = recent.length < 2 ? "It is drawn from the second commit on." : null;
  series.throughput.draw(rates(recent), few);
  series.freshness.draw(recent.map((commit) => ({ at: commit.at, value: commit.freshness_ms ?? null })), recent.length ? null : "No commit yet.");
  partitions(status);
  transforms(status);
  refused(status);
  const reasons = Object.entries(status.rejects ?? {}).map(([name, events]) => ({ name, events }));
  reasons.sort((a, b) => b.events - a.events || (a.name < b.name ? -1 : 1));
  const total = reasons.reduce((sum, row) => sum + row.events, 0);
  bars(figure("rejects"), reasons, { total, empty: "Nothing was rejected since the host started." });
  commits(status);
}

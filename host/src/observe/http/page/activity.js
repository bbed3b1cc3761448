// The view of those who look at the numbers: what the committed tables say of the last hour or day.

import { bars, Series } from "./charts.js";
import { clock, duration, number, plural, say, set } from "./dom.js";

/** The table that each chart is made of, and the transform that makes the table. */
const TABLES = {
  events: ["user_activity_per_minute", "activity_per_minute"],
  event_types: ["user_activity_per_minute", "activity_per_minute"],
  devices: ["user_activity_per_minute", "activity_per_minute"],
  users: ["active_users", "overview"],
  pages: ["user_pages_per_minute", "overview"],
  locations: ["user_locations_per_minute", "overview"],
};
const WORDS = {
  hour: { last: "in the last hour", now: "this hour", events: "Events a minute", users: "Active users a minute" },
  day: { last: "in the last day", now: "today (UTC)", events: "Events in 15 minutes", users: "Active users in the busiest minute of 15" },
};

const figure = (name) => document.querySelector(`[data-chart="${name}"]`);
const view = document.getElementById("view-activity");
let series = null;

function make() {
  const time = Object.assign((at) => clock(at), { axis: clock, round: true });
  const one = (name, kind, title, unit) => new Series(figure(name), { name: title, kind, time, value: (v) => plural(v, unit) });
  series = { events: one("events", "bars", "Events", "event"), users: one("users", "line", "Active users", "user") };
  // One pointer for both: they share their time axis.
  series.events.follow = (at) => series.users.show(at);
  series.users.follow = (at) => series.events.show(at);
}

/** Why a chart has nothing to show; null: it has. */
function nothing(name, activity, status) {
  const [table, transform] = TABLES[name];
  if (activity.missing?.includes(table)) {
    const folder = status?.host?.transforms;
    return `There is no table ${table} yet. The transform ${transform} makes it: ` +
      `${transform}.wasm belongs in ${folder ? folder : "the directory of transforms"}. It comes with its first rows.`;
  }
  return null;
}

function totals(activity, status, words) {
  const facts = {
    events: [activity.totals.events, `Events ${words.last}`],
    users: [activity.totals.users, `Users ${words.now}`],
    sessions: [activity.totals.sessions, `Sessions ${words.now}`],
  };
  for (const [name, [value, title]] of Object.entries(facts)) {
    say(document.getElementById(`total-${name}-title`), title);
    say(set(view.querySelector(`[data-total=${name}]`), { "data-value": value }), number(value));
  }
  const fresh = status?.recent?.findLast?.((commit) => commit.freshness_ms !== null)?.freshness_ms ?? null;
  say(set(view.querySelector("[data-total=freshness]"), { "data-value": fresh }), duration(fresh));
}

/** What is to be said above the charts: [text, kind]. */
export function notices(activity, status) {
  const said = [];
  if (!activity) return said;
  if (activity.error) said.push([`The lake could not be read: ${activity.error}`, "bad"]);
  if (activity.loading) {
    said.push([`Reading ${plural(activity.loading.files, "more file")} of the tables. Until then the numbers are too low.`, "busy"]);
  } else if (!activity.error && activity.totals.events === 0 && !activity.missing?.length) {
    const first = status && status.events === 0;
    said.push([first
      ? `No events yet. As soon as there are some in topic ${status.host.topic} they show here within seconds.`
      : `No events in the last ${activity.range}.`, "quiet"]);
  }
  return said;
}

/** Draws the view. */
export function render(activity, status) {
  if (!series) make();
  const words = WORDS[activity.range];
  set(view, { "aria-busy": "false", "data-range": activity.range, "data-from": activity.from, "data-to": activity.to,
    "data-at": activity.at, "data-loading": activity.loading ? activity.loading.files : null });
  totals(activity, status, words);
  const now = Date.parse(activity.at);
  for (const [name, chart] of Object.entries(series)) {
    const points = activity[name].map(([at, value]) => (
      { at, value, partial: Date.parse(at) + 1000 * activity.step_s > now }));
    chart.name = words[name];
    set(chart.plot, { "aria-label": words[name] });
    say(chart.figure.querySelector("h2"), words[name]);
    chart.draw(points, nothing(name, activity, status));
  }
  const total = activity.totals.events;
  for (const name of ["event_types", "devices", "pages", "locations"]) {
    const missing = nothing(name, activity, status);
    const empty = missing ?? (activity.loading ? "Still reading." : `Nothing in the last ${activity.range}.`);
    bars(figure(name), missing ? [] : activity[name], { total, empty });
  }
}

/** Before there is anything to draw. */
export function waiting(range) {
  set(view, { "aria-busy": "true" });
  for (const link of document.querySelectorAll("[data-range]")) {
    if (link.tagName === "A") set(link, { "aria-current": link.dataset.range === range ? "true" : null });
  }
}


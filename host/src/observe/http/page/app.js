// Tidemill's dashboard: which view is seen, and what the host last said. No framework, nothing from elsewhere.

import * as activity from "./activity.js";
import { $, clockSeconds, el, resize, say, set } from "./dom.js";
import { keepToken, Live, takeToken } from "./live.js";
import * as operations from "./operations.js";

const NAMES = { connecting: "Connecting", live: "Live", reconnecting: "Reconnecting", locked: "Locked", paused: "Paused" };
const VIEWS = ["activity", "operations"];

const now = { view: "activity", range: "hour", state: "connecting", status: null, activity: null, failures: 0 };

/** `#activity`, `#activity/day`, `#operations`. */
function route() {
  const [view, range] = location.hash.slice(1).split("/");
  const before = now.range;
  if (VIEWS.includes(view)) now.view = view;
  if (view === "activity") now.range = range === "day" ? "day" : "hour";
  if (now.range !== before) {
    now.activity = null;
    live.start(now.range);
  }
  for (const link of document.querySelectorAll("[data-view]")) {
    set(link, { "aria-current": link.dataset.view === now.view ? "page" : null });
  }
  set(document.querySelector("[data-view=activity]"), { href: now.range === "day" ? "#activity/day" : "#activity" });
  if (!now.activity) activity.waiting(now.range);
  document.title = `${now.view === "activity" ? "Activity" : "Operations"} · Tidemill`;
  draw();
}

function notices() {
  const said = [...operations.notices(now.status), ...(now.view === "activity" ? activity.notices(now.activity, now.status) : [])];
  if (now.failures > 1) said.unshift(["The host does not answer. This page tries again every few seconds.", "bad"]);
  const boxes = resize($("notices"), said.length, () => el("p"));
  said.forEach(([text, kind], at) => say(set(boxes[at], { class: `notice ${kind}` }), text));
}

function head() {
  set($("state"), { "data-state": now.state });
  say($("state-name"), NAMES[now.state]);
  const shown = now.view === "activity" ? now.activity : now.status;
  say($("as-of"), shown ? `as of ${clockSeconds(shown.at)}` : "");
  const lines = now.status?.attention?.length ?? 0;
  set($("badge"), { hidden: lines === 0 });
  say($("badge").firstElementChild, String(lines));
  say($("badge").lastElementChild, lines === 1 ? " line needs a person" : " lines need a person");
}

function draw() {
  const locked = now.state === "locked";
  set($("token"), { hidden: !locked });
  for (const view of VIEWS) set($(`view-${view}`), { hidden: locked || view !== now.view });
  head();
  if (locked) return resize($("notices"), 0);
  notices();
  if (now.view === "activity" && now.activity) activity.render(now.activity, now.status);
  else if (now.view === "operations" && now.status) operations.render(now.status);
  else return;
  if (!performance.getEntriesByName("drawn").length) performance.mark("drawn");
}

/** Both may come in one moment: they are drawn once. */
let due = false;
function soon() {
  if (due) return;
  due = true;
  requestAnimationFrame(() => {
    due = false;
    draw();
  });
}

const live = new Live({
  state(state, wrong) {
    now.failures = state === "reconnecting" ? now.failures + 1 : state === "live" ? 0 : now.failures;
    if (now.state === state && state !== "reconnecting") return;
    now.state = state;
    if (state === "locked") say($("token-wrong"), wrong ? "That is not this host's token." : "");
    soon();
    if (state === "locked") requestAnimationFrame(() => $("token-value").focus());
  },
  status(status) {
    now.status = status;
    soon();
  },
  activity(found) {
    if (found.range !== now.range) return;
    now.activity = found;
    soon();
  },
});

$("token").addEventListener("submit", (event) => {
  event.preventDefault();
  keepToken($("token-value").value.trim());
  $("token-value").value = "";
  now.state = "connecting";
  draw();
  live.start(now.range);
});
// A page that nobody sees holds no connection.
document.addEventListener("visibilitychange", () => (document.hidden ? live.pause() : live.start(now.range)));
window.addEventListener("hashchange", route);

takeToken();
say($("zone"), Intl.DateTimeFormat().resolvedOptions().timeZone);
const first = now.range;
route();
if (now.range === first) live.start(now.range);

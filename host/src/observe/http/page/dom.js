// Elements and words. What comes from the host only ever becomes text or an attribute's value: nothing parses it.

export const $ = (id) => document.getElementById(id);

/** An element with attributes and children. */
export function el(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  set(node, attributes);
  node.append(...children);
  return node;
}

/** An element of SVG. */
export function svg(tag, attributes = {}) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  set(node, attributes);
  return node;
}

/** Sets attributes; null and false take one away. What is already so is left alone. */
export function set(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) node.removeAttribute(name);
    else if (node.getAttribute(name) !== String(value)) node.setAttribute(name, value === true ? "" : value);
  }
  return node;
}

/** Characters that steer what stands beside them: a name may not. */
const STEERING = /[\u0000-\u001f\u007f-\u009f\u200e\u200f\u202a-\u202e\u2066-\u2069]/g;

/** Sets an element's text; a selection in it survives what does not change. */
export function say(node, words) {
  const text = words.replace(STEERING, "\ufffd");
  if (node.textContent !== text) node.textContent = text;
  return node;
}

/** Makes `parent` have as many children as `n`, old ones kept. */
export function resize(parent, n, make) {
  while (parent.childElementCount > n) parent.lastElementChild.remove();
  while (parent.childElementCount < n) parent.append(make());
  return parent.children;
}

const whole = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
const compact = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 1 });
const time = (options) => new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", ...options });
const [minutes, seconds] = [time({}), time({ second: "2-digit" })];
const dated = time({ day: "numeric", month: "short" });
const wrap = (format) => (at) => (at === null || at === undefined ? "–" : format.format(new Date(at)));

export const number = (n) => (n === null || n === undefined ? "–" : whole.format(n));
export const short = (n) => (Math.abs(n) < 10_000 && Number.isInteger(n) ? whole.format(n) : compact.format(n));
export const clock = wrap(minutes);
export const clockSeconds = wrap(seconds);
const dateClock = wrap(dated);
/** A time of day; with its date if that is not the day of `now`. */
export function when(at, now) {
  if (!at) return "–";
  return new Date(at).toDateString() === new Date(now).toDateString() ? clockSeconds(at) : dateClock(at);
}

export function plural(n, one, many = `${one}s`) {
  return `${number(n)} ${n === 1 ? one : many}`;
}

/** Milliseconds, as people say them. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toFixed(ms < 10_000 ? 1 : 0))} s`;
  const m = Math.floor(ms / 60_000);
  if (m < 60) return `${m} min`;
  if (m < 2880) return `${Math.floor(m / 60)} h ${m % 60} min`;
  return `${Math.floor(m / 1440)} days`;
}

export function bytes(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0;
  for (; n >= 1024 && at < units.length - 1; at += 1) n /= 1024;
  return `${at === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[at]}`;
}

/**
 * Fills a table in `box`. `columns` are {name, cell(row), kind}: `kind` is "text", "number" or "wide", and a cell is a
 * string or {text, title, kind, bar}: `bar` draws a share from 0 to 1. Nodes are reused, so that a selection survives.
 */
export function table(box, caption, columns, rows, { empty = "", stack = true, attributes = () => ({}) } = {}) {
  let made = box.querySelector("table");
  if (!made) {
    const head = el("tr", { role: "row" });
    for (const { kind } of columns) head.append(el("th", { scope: "col", role: "columnheader", class: kind ?? "text" }));
    made = el("table", { role: "table", class: stack ? "stack" : null },
      el("caption", { class: "hidden" }, caption),
      el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }));
    // What is wider than the window is scrolled within its box, by keys as well.
    const region = el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `Table: ${caption}` }, made);
    box.append(region, el("p", { class: "empty", hidden: true }));
  }
  set(box.querySelector(".scroll"), { hidden: rows.length === 0 });
  say(set(box.querySelector(".empty"), { hidden: rows.length > 0 }), empty);
  const row = () => {
    const cells = columns.map(({ name, kind }) => el("td", { role: "cell", class: kind ?? "text", "data-label": name }));
    return el("tr", { role: "row" }, ...cells);
  };
  columns.forEach(({ name }, n) => say(made.tHead.rows[0].cells[n], name));
  const lines = resize(made.tBodies[0], rows.length, row);
  rows.forEach((data, at) => {
    set(lines[at], attributes(data));
    columns.forEach((column, n) => {
      const value = column.cell(data);
      const cell = typeof value === "object" ? value : { text: value };
      const node = lines[at].cells[n];
      set(node, { title: cell.title, class: `${column.kind ?? "text"} ${cell.kind ?? ""}`.trim() });
      if (cell.bar === undefined) return say(node, cell.text);
      if (!node.firstElementChild) node.append(el("span"), el("i", { class: "meter", "aria-hidden": "true" }));
      say(node.firstElementChild, cell.text);
      node.lastElementChild.style.setProperty("--share", `${Math.min(1, cell.bar) * 100}%`);
    });
  });
}

// Charts: a series over time, and bars by name. Each datum is an element with `data-value` and `data-at` or `data-name`.

import { el, number, plural, resize, say, set, short, svg, table } from "./dom.js";

const TOP = 10;
const BOTTOM = 24;
const RIGHT = 6;
/** Room for a label of the time axis, in pixels. */
const LABEL = 62;
/** Minutes between two labels. */
const EVERY = [5, 10, 15, 20, 30, 60, 120, 180, 240, 360, 720];
/** Names that are shown before somebody asks for all. */
const SHOWN = 10;

/** The lines of a value axis from 0: at most four steps of 1, 2 or 5, whole ones for counts. */
export function ticks(max, fractions) {
  if (!(max > 0)) return [0];
  const power = 10 ** Math.floor(Math.log10(max / 4));
  let step = [1, 2, 5, 10].map((n) => n * power).find((n) => max / n <= 4.0001);
  if (!fractions) step = Math.max(1, step);
  const lines = [];
  for (let n = 0; n * step < max + step * 0.999; n += 1) lines.push(n * step);
  return lines;
}

/**
 * A series in a figure. With `kind` "bars" or "line". What is under the pointer, or under the keys of somebody who has
 * focused it, is read out; to a screen reader it is a slider over the points, with a table beside it.
 */
export class Series {
  /** `value(v)` says a value, `axis(v)` labels a line, `time(at)` says a point's time. */
  constructor(figure, { name, kind, value, axis = short, time, fractions = false, over = null }) {
    Object.assign(this, { figure, name, kind, value, axis, time, fractions, over });
    this.points = [];
    this.cursor = null; // the time that is pointed at
    this.follow = () => {};
    this.readout = el("p", { class: "readout" });
    figure.querySelector("figcaption").append(this.readout);
    this.plot = el("div", { class: "plot", role: "slider", tabindex: "0", "aria-label": name });
    this.svg = svg("svg", { "aria-hidden": "true", focusable: "false" });
    this.plot.append(this.svg);
    this.empty = el("p", { class: "empty", hidden: true });
    this.details = el("details", {}, el("summary", {}, "As a table"), el("div"));
    figure.append(this.plot, this.empty, this.details);
    const layers = { axes: "g", area: "path", line: "path", next: "path", mark: "line", marks: "g" };
    this.layers = {};
    for (const [layer, tag] of Object.entries(layers)) {
      this.layers[layer] = this.svg.appendChild(svg(tag, { class: layer }));
    }
    this.details.addEventListener("toggle", () => this.list());
    new ResizeObserver(() => this.paint()).observe(this.plot);
    this.listen();
  }

  listen() {
    const point = (event) => {
      const { left } = this.plot.getBoundingClientRect();
      this.point(Math.floor((event.clientX - left - this.left) / this.step));
    };
    this.plot.addEventListener("pointermove", point);
    this.plot.addEventListener("pointerdown", point);
    this.plot.addEventListener("pointerleave", () => this.point(null));
    this.plot.addEventListener("focus", () => this.plot.matches(":focus-visible") && this.point(this.last()));
    this.plot.addEventListener("blur", () => this.point(null));
    this.plot.addEventListener("keydown", (event) => {
      const at = this.at() ?? this.last();
      const to = { ArrowLeft: at - 1, ArrowDown: at - 1, ArrowRight: at + 1, ArrowUp: at + 1, Home: 0,
        End: this.points.length - 1, PageUp: at + 10, PageDown: at - 10, Escape: null }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      this.point(to);
    });
  }

  /** The last point that is complete. */
  last() {
    const n = this.points.length;
    return n > 1 && this.points[n - 1].partial ? n - 2 : n - 1;
  }

  at() {
    const found = this.cursor === null ? -1 : this.points.findIndex((p) => p.at === this.cursor);
    return found < 0 ? null : found;
  }

  /** Points at a datum, or at none. */
  point(to) {
    const n = this.points.length;
    const at = to === null || n === 0 ? null : Math.max(0, Math.min(n - 1, to));
    this.show(at === null ? null : this.points[at].at);
    this.follow(this.cursor);
  }

  /** Points at a time. */
  show(time) {
    this.cursor = time;
    this.read();
  }

  /** `points`: [{at, value, partial}]; a value of null is not known. `empty` says why there is nothing to see. */
  draw(points, empty = null) {
    this.points = points;
    say(set(this.empty, { hidden: !empty }), empty ?? "");
    set(this.plot, { hidden: Boolean(empty) });
    set(this.details, { hidden: Boolean(empty) });
    this.paint();
    this.list();
  }

  x(at) {
    return this.left + (at + 0.5) * this.step;
  }

  paint() {
    const { width, height } = this.plot.getBoundingClientRect();
    const n = this.points.length;
    if (!width || !n) {
      resize(this.layers.marks, 0);
      return this.read();
    }
    set(this.svg, { viewBox: `0 0 ${width} ${height}` });
    const known = this.points.filter((p) => p.value !== null);
    const lines = ticks(Math.max(0, ...known.map((p) => p.value)), this.fractions);
    const labels = lines.map(this.axis);
    this.left = 10 + 7 * Math.max(...labels.map((label) => label.length));
    this.step = (width - this.left - RIGHT) / n;
    const top = lines[lines.length - 1] || 1;
    const y = (value) => height - BOTTOM - (value / top) * (height - TOP - BOTTOM);
    this.axes(width, height, lines.map((line, at) => [y(line), labels[at]]));
    if (this.kind === "bars") this.bars(y);
    else this.curve(y);
    this.read();
  }

  axes(width, height, lines) {
    const made = [];
    for (const [y, label] of lines) {
      made.push(svg("line", { x1: this.left, x2: width - RIGHT, y1: y, y2: y }));
      const text = svg("text", { x: this.left - 8, y: y + 4, "text-anchor": "end" });
      made.push(say(text, label));
    }
    const room = width - this.left - RIGHT;
    const steps = this.points.map((p) => new Date(p.at));
    const span = (steps[steps.length - 1] - steps[0]) / 60_000;
    // Round times for minutes and hours; each so many points for what has no steps.
    const every = EVERY.find((e) => (span / e) * LABEL <= room) ?? 1440;
    const stride = Math.ceil((LABEL * 1.4) / this.step);
    let before = -LABEL;
    this.points.forEach((p, at) => {
      const of = steps[at];
      const round = of.getSeconds() === 0 && (of.getHours() * 60 + of.getMinutes()) % every === 0;
      const x = Math.min(this.x(at), width - LABEL / 2);
      const due = this.time.round ? round : (this.points.length - 1 - at) % stride === 0;
      if (!due || x - before < LABEL * 0.9) return;
      before = x;
      const text = svg("text", { x, y: height - 6, "text-anchor": "middle" });
      made.push(say(text, this.time.axis(p.at)));
    });
    this.layers.axes.replaceChildren(...made);
  }

  datum(node, point, attributes) {
    set(node, { "data-at": point.at, "data-value": point.value, ...attributes });
    node.classList.toggle("partial", Boolean(point.partial));
    node.classList.toggle("over", this.over !== null && point.value > this.over);
  }

  bars(y) {
    const gap = this.step > 5 ? 2 : 1;
    const width = Math.max(1, Math.min(26, this.step - gap));
    const nodes = resize(this.layers.marks, this.points.length, () => svg("rect"));
    this.points.forEach((p, at) => {
      const height = p.value === null ? 0 : y(0) - y(p.value);
      this.datum(nodes[at], p, { x: this.x(at) - width / 2, width, y: y(0) - height, height, rx: Math.min(2, width / 3) });
    });
  }

  curve(y) {
    const nodes = resize(this.layers.marks, this.points.length, () => svg("circle"));
    const path = [];
    this.points.forEach((p, at) => {
      this.datum(nodes[at], p, { cx: this.x(at), cy: y(p.value ?? 0), r: p.value === null ? 0 : this.step > 9 ? 2 : 1.2 });
      if (p.value !== null) path.push([this.x(at), y(p.value), p.partial]);
    });
    const whole = path.filter(([, , partial]) => !partial);
    const d = whole.map(([x, h], at) => `${at ? "L" : "M"}${x.toFixed(1)} ${h.toFixed(1)}`).join("");
    const [first, last, next] = [whole[0], whole[whole.length - 1], path.find(([, , partial]) => partial)];
    set(this.layers.line, { d });
    set(this.layers.area, { d: d && `${d}V${y(0)}H${first[0]}Z` });
    // What is still going on is no fall.
    set(this.layers.next, { d: last && next ? `M${last[0]} ${last[1]}L${next[0]} ${next[1]}` : "" });
  }

  /** Says what is pointed at; without that, the last complete point. */
  read() {
    const at = this.at();
    const shown = at ?? this.last();
    const p = this.points[shown];
    const words = !p ? "" : p.value === null ? "not known" : this.value(p.value);
    const when = p ? this.time(p.at) + (p.partial ? ", so far" : "") : "";
    this.readout.replaceChildren(...(p && !this.plot.hidden ? [el("b", {}, words), ` ${when}`] : []));
    set(this.readout, { "data-pointed": at !== null });
    set(this.plot, { "aria-valuemin": 0, "aria-valuemax": Math.max(0, this.points.length - 1),
      "aria-valuenow": Math.max(0, shown), "aria-valuetext": p ? `${when}: ${words}` : "no data" });
    const height = this.plot.clientHeight;
    set(this.layers.mark, at === null || !this.step ? { visibility: "hidden" }
      : { visibility: "visible", x1: this.x(at), x2: this.x(at), y1: TOP, y2: height - BOTTOM });
    for (const node of this.layers.marks.querySelectorAll(".at")) node.classList.remove("at");
    if (at !== null) this.layers.marks.children[at]?.classList.add("at");
  }

  /** The same as a table, newest first, for who has opened it. */
  list() {
    if (!this.details.open) return;
    const columns = [
      { name: "Time", cell: (p) => this.time(p.at) + (p.partial ? ", so far" : "") },
      { name: this.name, kind: "number", cell: (p) => (p.value === null ? "not known" : this.value(p.value)) },
    ];
    table(this.details.lastElementChild, this.name, columns, [...this.points].reverse(), { stack: false });
  }
}

/** Bars by name in a figure: `rows` are [{name, events}]; `total` is what shares are of; `empty` says why there are none. */
export function bars(figure, rows, { total = null, empty = "", unit = "event" } = {}) {
  let list = figure.querySelector("ol");
  if (!list) {
    list = el("ol", { class: "bars", role: "list" });
    const more = el("button", { type: "button", class: "more", hidden: true, "aria-expanded": "false" });
    more.addEventListener("click", () => {
      const all = list.classList.toggle("all");
      set(more, { "aria-expanded": String(all) });
      say(more, all ? "Fewer" : `All ${list.childElementCount}`);
    });
    figure.append(list, more, el("p", { class: "empty", hidden: true }));
  }
  const more = figure.querySelector(".more");
  set(more, { hidden: rows.length <= SHOWN });
  if (!list.classList.contains("all")) say(more, `All ${rows.length}`);
  say(set(figure.querySelector(".empty"), { hidden: rows.length > 0 }), empty);
  set(list, { hidden: rows.length === 0 });
  const most = Math.max(1, ...rows.map((row) => row.events));
  const make = () => el("li", {}, el("span", { class: "name" }), el("span", { class: "amount" }),
    el("i", { class: "meter", "aria-hidden": "true" }));
  const lines = resize(list, rows.length, make);
  rows.forEach(({ name, events }, at) => {
    const line = lines[at];
    const [label, amount, meter] = line.children;
    set(line, { "data-name": name, "data-value": events });
    say(set(label, { title: name }), name === "" ? "(blank)" : name);
    const share = total > 0 ? (100 * events) / total : null;
    const percent = share === null ? "" : share > 0 && share < 0.1 ? "<0.1 %" : `${share.toFixed(share < 9.95 ? 1 : 0)} %`;
    if (!amount.firstChild) amount.append(el("b"), el("span", { class: "share" }));
    say(amount.firstChild, number(events));
    say(amount.lastChild, percent);
    set(amount, { title: plural(events, unit) });
    meter.style.setProperty("--share", `${(100 * events) / most}%`);
  });
}

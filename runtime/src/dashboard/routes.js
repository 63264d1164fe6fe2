// Routes as a graph to handlers and the handlers that those call, and the same as a table.

import { run } from "./api.js";
import { Table, byId, svg } from "./dom.js";
import { NONE, orDash, rate } from "./format.js";

const WIDTH = 900;
const STEP = 34;
const BOX = 24;
const COLUMN = { route: [10, 330], handler: [430, 200], called: [700, 190] };

/** Draws no more routes than a reader can follow; the table has all. */
const MOST = 100;

const COLUMNS = [
  { title: "Path", code: true, show: (route) => `${route.host ?? ""}${route.path}` },
  { title: "Methods", show: (route) => (route.methods.length === 0 ? "all" : route.methods.join(", ")) },
  { title: "Upgrade", rare: true, show: (route) => orDash(route.upgrade) },
  { title: "Answered by", wrap: true, show: (route) => route.target },
  { title: "Version", code: true, rare: true, show: (route) => orDash(route.version) },
  { title: "Req/s of the handler", number: true, show: (route) => orDash(route.rate, rate) },
];

const short = (text, letters) => (text.length > letters ? `${text.slice(0, letters - 1)}…` : text);

/** Places names below one another in a column. */
function placed(names, [x, width]) {
  return new Map(names.map((name, place) => [name, { x, width, y: 10 + place * STEP }]));
}

function box({ x, y, width }, label, note) {
  const title = svg("title", {}, note ? `${label}, ${note}` : label);
  const letters = Math.floor(width / 7.5) - (note ? note.length + 2 : 0);
  const name = svg("text", { x: x + 8, y: y + 16 }, short(label, letters));
  const parts = [svg("rect", { x, y, width, height: BOX }), name, title];
  if (note) parts.push(svg("text", { x: x + width - 8, y: y + 16, class: "muted", "text-anchor": "end" }, note));
  return svg("g", {}, ...parts);
}

function curve(from, to, kind) {
  const [x, y] = [from.x + from.width, from.y + BOX / 2];
  const [endX, endY] = [to.x, to.y + BOX / 2];
  const middle = (x + endX) / 2;
  return svg("path", { d: `M${x} ${y} C${middle} ${y} ${middle} ${endY} ${endX} ${endY}`, class: kind });
}

/** Draws the graph. Its content stands in the tables of routes and of handlers too. */
function draw(routes, handlers) {
  const shown = routes.slice(0, MOST);
  const label = (route) => `${route.methods.join(",")} ${route.host ?? ""}${route.path}`.trim();
  const left = shown.map((route, place) => [place, label(route)]);
  const reached = handlers.filter(({ routes, trial, calls }) => routes.length > 0 || trial || calls.length > 0);
  const direct = [...new Set(shown.filter(({ handler }) => !handler).map(({ target }) => target))];
  const middle = placed([...reached.map(({ name }) => name), ...direct], COLUMN.handler);
  const trials = handlers.filter(({ trial }) => trial);
  const called = [...new Set(handlers.flatMap(({ calls }) => calls))];
  const right = placed([...called, ...trials.map(({ name }) => `trial ${name}`)], COLUMN.called);
  const routesAt = placed(left.map(([place]) => place), COLUMN.route);
  const parts = [];
  shown.forEach(({ handler, target }, place) => {
    const to = middle.get(handler ?? target);
    if (to) parts.push(curve(routesAt.get(place), to, ""));
  });
  for (const { name, calls, trial } of reached) {
    for (const callee of calls) parts.push(curve(middle.get(name), right.get(callee), "call"));
    if (trial) parts.push(curve(middle.get(name), right.get(`trial ${name}`), "trial"));
  }
  left.forEach(([place, text]) => parts.push(box(routesAt.get(place), text)));
  for (const { name, rate: now } of reached) parts.push(box(middle.get(name), name, now === null ? "" : `${rate(now)}/s`));
  for (const target of direct) parts.push(box(middle.get(target), target));
  for (const name of called) parts.push(box(right.get(name), name, "called"));
  for (const { name, trial } of trials) parts.push(box(right.get(`trial ${name}`), trial.version, `${trial.percent} %`));
  const height = 10 + Math.max(shown.length, middle.size, right.size, 1) * STEP;
  const text = `${routes.length} routes lead to ${reached.length} handlers; the table below lists them`;
  return svg("svg", { viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": text }, ...parts);
}

export function routesView() {
  const table = new Table(byId("routes-table"), COLUMNS, {
    key: (route) => `${route.methods.join()} ${route.host ?? ""} ${route.path} ${route.upgrade ?? ""}`,
    empty: "The configuration has no routes.",
  });
  let routes = [];
  let generation = null;
  return {
    async update({ handlers, status }) {
      if (status.generation !== generation) {
        routes = await run("routes");
        generation = status.generation;
      }
      const rates = new Map(handlers.map(({ name, rate: now }) => [name, now]));
      table.update(routes.map((route) => ({ ...route, rate: rates.get(route.handler) ?? null })));
      byId("routes-graph").replaceChildren(routes.length > 0 ? draw(routes, handlers) : NONE);
    },
  };
}

// The table of handlers by version, with their trials.

import { run } from "./api.js";
import { Table, byId, change, fillButtons, svg } from "./dom.js";
import { counted, ms, NONE, orDash, rate, size } from "./format.js";

const bound = (max) => (Number.isFinite(max) ? `< ${ms(max)}` : "long");
const isTrial = (row) => "percent" in row;

/** Names a version on trial by its share of the requests, or one whose trial is over by how it ended. */
const trialName = ({ percent, end }) => (end ? `trial over, ${end}` : `on trial, ${percent} %`);

/** Makes a column that a version on trial does not have. */
const ofHandler = (show) => (row) => (isTrial(row) ? NONE : show(row));

const COLUMNS = [
  {
    title: "Handler",
    show: (row) => (isTrial(row) ? trialName(row) : row.name),
    sort: (row) => row.name,
  },
  { title: "Version", code: true, rare: true, show: (row) => row.version },
  { title: "Req/s", number: true, show: (row) => orDash(row.rate, rate), sort: (row) => row.rate },
  { title: "Last minute", rare: true, fill: fillSpark },
  { title: "p50", number: true, rare: true, show: ofHandler((row) => orDash(row.times, ({ p50 }) => ms(p50))), sort: (row) => row.times?.p50 },
  {
    title: "p99",
    number: true,
    show: (row) => (isTrial(row) ? orDash(row.p99_ms, ms) : orDash(row.times, ({ p99 }) => ms(p99))),
    sort: (row) => row.times?.p99,
  },
  { title: "Max", number: true, rare: true, show: ofHandler((row) => orDash(row.times, ({ max }) => bound(max))), sort: (row) => row.times?.max },
  {
    title: "Running",
    number: true,
    show: ofHandler((row) => `${row.running} / ${row.most_running} / ${row.limits.concurrency}`),
    sort: (row) => row.running,
    tone: (row) => (!isTrial(row) && row.running >= row.limits.concurrency ? "warn" : ""),
  },
  {
    title: "Queue",
    number: true,
    show: ofHandler((row) => `${row.waiting} / ${row.most_waiting} / ${row.limits.queue}`),
    sort: (row) => row.waiting,
    tone: (row) => (!isTrial(row) && row.waiting > 0 ? "warn" : ""),
  },
  {
    title: "Limits hit",
    number: true,
    show: ofHandler((row) => String(row.limits_hit)),
    sort: (row) => row.limits_hit,
    tone: (row) => (row.limits_hit > 0 ? "warn" : ""),
  },
  { title: "CPU", number: true, show: ofHandler((row) => orDash(row.cpu, (cpu) => `${(cpu * 100).toFixed(0)} %`)), sort: (row) => row.cpu },
  { title: "Memory", number: true, rare: true, show: ofHandler((row) => size(row.memory)), sort: (row) => row.memory },
  { title: "Nearest limit", rare: true, show: ofHandler(nearest) },
  {
    title: "Errors",
    wrap: true,
    show: errors,
    sort: (row) => row.failed,
    tone: (row) => (row.failing > 0 || row.failures > 0 ? "bad" : "muted"),
  },
  { title: "", fill: fillActions },
];

/** Names the limit that jobs have come closest to: `memory 92 %`. */
function nearest(row) {
  const [limit, percent] = Object.entries(row.peaks).reduce((most, peak) => (peak[1] > most[1] ? peak : most), ["", 0]);
  return percent > 0 ? `${limit} ${Math.ceil(percent)} %` : NONE;
}

function errors(row) {
  if (isTrial(row)) return `${row.answered} of ${row.wanted} answered, ${row.failures} failed`;
  if (row.errors.length === 0) return NONE;
  const now = row.failing > 0 ? `${rate(row.failing)}/s: ` : "";
  return now + row.errors.map(([code, count]) => `${code} ${count}`).join(", ");
}

/** Draws the requests a second of the last minute. The figure itself stands beside it. */
function fillSpark(cell, row) {
  if (isTrial(row)) return;
  let line = cell.querySelector("polyline");
  if (!line) {
    line = svg("polyline");
    const box = { class: "spark", viewBox: "0 0 60 20", preserveAspectRatio: "none", "aria-hidden": "true" };
    cell.append(svg("svg", box, line));
  }
  const most = Math.max(...row.rates, 1);
  const points = row.rates.map((value, place) => `${60 - row.rates.length + place},${(19 - (value / most) * 18).toFixed(1)}`);
  line.setAttribute("points", points.join(" "));
}

let mayChange = false;

function fillActions(cell, row) {
  if (!mayChange || row.end || row.trial) return fillButtons(cell, []);
  if (isTrial(row)) {
    return fillButtons(cell, [
      { label: "Promote", name: `Promote the trial of ${row.handler}`, click: () => promote(row) },
      { label: "End trial", name: `End trial of ${row.handler}`, click: () => rollBack(row.handler, true), danger: true },
    ]);
  }
  fillButtons(cell, [{ label: "Roll back", name: `Roll back ${row.name}`, click: () => rollBack(row.name, false) }]);
}

async function promote({ handler, version }) {
  const question = `Version ${version} of ${handler} will serve all requests at once. Its trial ends without a verdict.`;
  await change(question, "Promote", async () => {
    const { old, new: serving } = await run("promote", handler);
    return `${handler}: ${serving} serves instead of ${old}`;
  });
}

async function rollBack(handler, isOnTrial) {
  const question = isOnTrial
    ? `The trial of ${handler} will end, and its version gets no more requests.`
    : `${handler} will go back to the version that served before.`;
  await change(question, isOnTrial ? "End trial" : "Roll back", async () => {
    const { old, new: serving, trial } = await run("rollback", handler);
    return trial ? `${handler}: the trial of ${old} is over, ${serving} goes on` : `${handler}: ${serving} serves instead of ${old}`;
  });
}

export function handlersView() {
  const table = new Table(byId("handlers-table"), COLUMNS, {
    key: (row) => (isTrial(row) ? `trial ${row.handler}` : row.name),
    under: (row) => [row.trial ?? row.outcome].filter(Boolean),
    empty: "The configuration has no handlers.",
    sorted: "Handler",
    descending: false,
  });
  return {
    update({ handlers, access }) {
      mayChange = access.changes;
      table.update(handlers);
      const failing = handlers.filter(({ failing }) => failing > 0).length;
      document.title = failing > 0 ? `${counted(failing, "handler")} failing · Portcullis` : "Portcullis";
    },
  };
}

// The list of ended jobs, each leading to its timeline.

import { run } from "./api.js";
import { Table, byId, element, showOptions } from "./dom.js";
import { NONE, clock, ms, orDash, size } from "./format.js";

/** The most jobs of the list. */
const MOST = 200;

/** The columns that the live list of requests has too. */
export const ENDED = [
  { title: "Began", show: (job) => clock(job.began) },
  { title: "Job", code: true, fill: fillLink },
  { title: "Handler", show: (job) => orDash(job.handler) },
  { title: "Version", code: true, rare: true, show: (job) => orDash(job.version) },
  { title: "Request", code: true, wrap: true, show: ({ request }) => orDash(request, ({ method, path }) => `${method} ${path}`) },
  { title: "Status", number: true, show: ({ request }) => orDash(request?.status), tone: ({ request }) => (request?.status >= 500 ? "bad" : "") },
  { title: "Time", number: true, show: (job) => ms(job.total_ms) },
  { title: "CPU", number: true, rare: true, show: ({ run: one }) => orDash(one, ({ cpu_ms }) => ms(cpu_ms)) },
  { title: "Memory", number: true, rare: true, show: ({ run: one }) => orDash(one, ({ memory }) => size(memory)) },
  { title: "Outcome", show: (job) => job.outcome, tone: (job) => (job.outcome === "ok" ? "muted" : "bad") },
];

function fillLink(cell, { id }) {
  if (id === null) {
    cell.textContent = NONE;
    return;
  }
  const link = cell.querySelector("a") ?? cell.appendChild(element("a"));
  if (link.textContent !== id) link.textContent = id;
  link.href = `#job/${id}`;
  link.setAttribute("aria-label", `Job ${id}`);
}

export function historyView() {
  const table = new Table(byId("history-table"), ENDED, {
    key: (job) => job.id ?? `${job.began} ${job.request?.path}`,
    empty: "No ended job is kept.",
  });
  return {
    async update({ handlers }) {
      showOptions(byId("history-handler"), handlers.map(({ name }) => name));
      const args = ["-n", String(MOST)];
      if (byId("history-failed").checked) args.push("--failed");
      if (byId("history-handler").value !== "") args.push(byId("history-handler").value);
      table.update((await run("history", ...args)).reverse());
    },
  };
}

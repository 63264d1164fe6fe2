// The running jobs, each with a button that ends it.

import { run } from "./api.js";
import { Table, byId, change, fillButtons } from "./dom.js";
import { orDash, size, span } from "./format.js";

let mayChange = false;

const age = (milliseconds) => (milliseconds < 10_000 ? `${(milliseconds / 1000).toFixed(1)} s` : span(milliseconds));

const COLUMNS = [
  { title: "Job", code: true, show: (job) => job.id },
  { title: "Handler", show: (job) => job.handler, sort: (job) => job.handler },
  { title: "Version", code: true, rare: true, show: (job) => job.version },
  { title: "Called by", code: true, rare: true, show: (job) => orDash(job.parent) },
  { title: "Age", number: true, show: (job) => age(job.age_ms), sort: (job) => job.age_ms },
  { title: "CPU", number: true, show: (job) => age(job.cpu_ms), sort: (job) => job.cpu_ms },
  { title: "Memory", number: true, show: (job) => size(job.memory), sort: (job) => job.memory },
  { title: "Written", number: true, rare: true, show: (job) => size(job.written), sort: (job) => job.written },
  { title: "", fill: fillActions },
];

const isOurs = (job) => job.kind === "native";

function fillActions(cell, job) {
  const kill = { label: "Kill", name: `Kill job ${job.id} of ${job.handler}`, click: () => end(job), danger: true };
  fillButtons(cell, mayChange && !isOurs(job) ? [kill] : []);
}

async function end({ id, handler }) {
  await change(`Job ${id} of ${handler} will be ended. Its client gets 503.`, "Kill", async () => {
    const { killed } = await run("kill", id);
    return `killed ${killed}`;
  });
}

export function jobsView() {
  const table = new Table(byId("jobs-table"), COLUMNS, { key: (job) => job.id, empty: "No job runs." });
  return {
    async update({ access }) {
      mayChange = access.changes;
      const jobs = await run("jobs");
      table.update(jobs.filter((job) => byId("jobs-all").checked || !isOurs(job)));
    },
  };
}

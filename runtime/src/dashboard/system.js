// The daemon itself: its state, traces, certificates, stores and databases.

import { Table, byId, element, showPairs } from "./dom.js";
import { NONE, clock, counted, orDash, size } from "./format.js";
import { meter } from "./job.js";

/** Fewer days than this before the end of a certificate are a warning. */
const SOON = 21;

const CERTIFICATES = [
  { title: "File or host", wrap: true, show: ({ file }) => file },
  { title: "Until", show: ({ until }) => until },
  { title: "Left", number: true, wrap: true, show: ({ left }) => left, tone: ({ days }) => (days < 0 ? "bad" : days < SOON ? "warn" : "") },
];

const STORES = [
  { title: "Store", show: ({ name }) => name },
  { title: "Used", fill: fillUsed },
  { title: "Handlers", wrap: true, show: ({ granted }) => granted.join(", ") || NONE },
  { title: "Place", wrap: true, rare: true, show: ({ url }) => url },
  { title: "Error", wrap: true, show: ({ error }) => orDash(error), tone: ({ error }) => (error === null ? "muted" : "bad") },
];

function fillUsed(cell, { used, quota }) {
  const shown = used === null ? NONE : meter((used / Math.max(quota, 1)) * 100, `${size(used)} of ${size(quota)}`);
  cell.replaceChildren(shown);
}

/** Takes `FILE until DATE (N days)` apart, as `status` has it. */
export function certificate(line) {
  const [, file, until, left] = /^(.*) until (\S*) \((.*)\)$/.exec(line) ?? [null, line, NONE, NONE];
  return { file, until, left, days: left === "expired" ? -1 : parseInt(left, 10) };
}

/** Makes the same of a host whose certificate the daemon obtains itself. */
export function obtained({ domain, days_left: days, error }) {
  const left = days === null ? "none yet" : counted(days, "day");
  return { file: domain, until: NONE, left: error === null ? left : `${left}; ${error}`, days: days ?? -1 };
}

export function systemView() {
  const certificates = new Table(byId("system-certificates"), CERTIFICATES, { key: ({ file, until }) => `${file} ${until}`, empty: "No certificate is loaded." });
  const stores = new Table(byId("system-stores"), STORES, { key: ({ name }) => name, empty: "The configuration has no stores." });
  return {
    update({ status }) {
      showPairs(byId("system-facts"), [
        ["Version", `${status.version}${status.commit === null ? "" : ` (${status.commit})`}`],
        ["Process", String(status.pid)],
        ["Listening", status.listening.join(", ")],
        ["Generation", `${status.generation}, published ${orDash(status.published, (at) => `${clock(at)} (${at})`)}`],
        ["Generations in memory", String(status.generations_alive)],
        ["Last reload", orDash(status.reloaded, (at) => `${clock(at)} (${at})`)],
        ["Reload refused", orDash(status.reload_refused)],
        ["Secrets refused", orDash(status.secrets_refused)],
        ["Compiling", orDash(status.loading)],
        ["Schedules", `${status.schedules}, ${status.missed_runs} runs missed`],
        ["Memory of jobs", status.jobs_memory],
        ["Descriptors of jobs", status.jobs_descriptors],
        ["Sandbox", status.sandbox],
        ["Compile cache", status.compile_cache],
        ["History", status.history],
        ["Observers", status.observe.join(", ") || NONE],
        ["Traces", status.traces ?? "off"],
        ["Keys of gates", (status.key_sets ?? []).join(", ") || NONE],
      ]);
      certificates.update([...status.certificates.map(certificate), ...(status.acme ?? []).map(obtained)]);
      stores.update(status.stores ?? []);
      const databases = status.databases ?? [];
      byId("system-databases").replaceChildren(
        ...(databases.length === 0 ? ["The configuration has no databases."] : databases).map((line) => element("li", {}, line)),
      );
    },
  };
}

// One ended job: its timeline, its use of the limits, its stderr, and its replay.

import { replay, run } from "./api.js";
import { Table, byId, element, say, setText, showPairs } from "./dom.js";
import { NONE, clock, ms, orDash, size } from "./format.js";

const TIMELINE = [
  { title: "At", number: true, show: ({ at }) => `+${ms(at)}` },
  { title: "Event", show: ({ event }) => event },
  { title: "Took", number: true, show: ({ took }) => orDash(took, ms) },
  { title: "Share of the time", rare: true, fill: fillTrack },
];

/** Draws where an event lies in the time of the job. The figures stand beside it. */
function fillTrack(cell, { at, took, total }) {
  const bar = element("i");
  bar.style.left = `${Math.min((at / total) * 100, 99)}%`;
  bar.style.width = `${Math.min(((took ?? 0) / total) * 100, 100)}%`;
  const track = element("div", { className: "track" }, bar);
  track.setAttribute("aria-hidden", "true");
  cell.replaceChildren(track);
}

/** Lists the events of a job by the time from its beginning. */
export function timeline({ run: one, request, jobs, total_ms: total }) {
  const events = [];
  const add = (at, event, took = null) => {
    if (at !== null && at !== undefined) events.push({ at, event, took, total: Math.max(total, 0.001) });
  };
  add(0, "accepted");
  if (one) {
    if (one.started_ms !== null) {
      add(Math.max(one.started_ms - one.queue_ms, 0), "waited for its slot", one.queue_ms);
      add(one.started_ms, "made its instance", one.instantiate_ms);
      if (one.guest_ms !== null) add(one.started_ms + (one.instantiate_ms ?? 0), "the guest ran", one.guest_ms);
    }
    for (const call of one.calls) add(call.started_ms, `call to ${call.origin}: ${call.outcome}`, call.time_ms);
    add(one.ended_ms, one.started_ms === null ? "was refused a slot" : "its run ended");
  }
  for (const job of jobs) add(job.started_ms, `job ${job.id} of ${job.handler}: ${job.outcome}`, job.time_ms);
  if (request) {
    add(request.first_byte_ms, "head of the response");
    add(request.ended_ms, request.complete ? "end of the response" : "the response broke off");
  }
  return events.sort((one, other) => one.at - other.at).map((event, place) => ({ ...event, place }));
}

function facts(job) {
  const { request, run: one } = job;
  const pairs = [
    ["Handler", job.handler === null ? NONE : `${job.handler}@${job.version} (${job.kind})`],
    ["Began", `${clock(job.began)} (${job.began})`],
    ["Took", ms(job.total_ms)],
    ["Outcome", job.message === null ? job.outcome : `${job.message} (${job.outcome})`],
  ];
  if (job.parent !== null) pairs.push(["Called by", element("a", { href: `#job/${job.parent}` }, job.parent)]);
  if (job.trace_id !== null) pairs.push(["Trace", element("code", {}, job.trace_id)]);
  if (request) {
    pairs.push(["Request", `${request.method} ${request.path} (route ${orDash(request.route)}) from ${orDash(request.client)}`]);
    pairs.push(["Response", `${orDash(request.status)}, ${size(request.sent)}${request.complete ? "" : ", broken off"}`]);
  }
  if (one) {
    pairs.push(["Exit status", String(one.status)]);
    pairs.push(["Used", `cpu ${ms(one.cpu_ms)}, memory ${size(one.memory)}, read ${size(one.read)}, written ${size(one.written)}`]);
  }
  return pairs;
}

/** Draws how much of something is used, with its figure. */
export function meter(percent, text) {
  const bar = element("i", { className: percent >= 90 ? "full" : "" });
  bar.style.width = `${Math.min(percent, 100)}%`;
  const box = element("span", { className: "meter" }, bar);
  box.setAttribute("aria-hidden", "true");
  return element("span", {}, box, text);
}

export function jobView() {
  const table = new Table(byId("job-timeline"), TIMELINE, { key: ({ place }) => place });
  let shown = "";

  async function again(id) {
    const button = byId("job-replay");
    button.disabled = true;
    setText(byId("job-replayable"), "Running it again …");
    try {
      const { status, stdout, stderr } = await replay(id);
      byId("job-replayed").textContent = `${stderr.trimEnd()}\n\n${stdout}`.trimEnd();
      byId("job-replayed").hidden = false;
      say(status === 0 ? "The outcome of the replay is the same." : "The outcome of the replay differs.", status === 0 ? "good" : "bad");
      setText(byId("job-replayable"), "Run again, with read-only mounts and without stores.");
    } catch (error) {
      setText(byId("job-replayable"), error.message);
      say(error.message, "bad");
    }
    button.disabled = false;
  }

  function show(job) {
    setText(byId("title-job"), `Job ${job.id}`);
    showPairs(byId("job-facts"), facts(job));
    table.update(timeline(job));
    const limits = Object.entries(job.run?.limits ?? {});
    showPairs(byId("job-limits"), limits.map(([name, percent]) => [name, meter(percent, `${percent} %`)]));
    setText(byId("job-stderr"), job.run?.stderr ?? "");
    setText(byId("job-stack"), job.stack);
    byId("job-replay").hidden = job.replay === null;
    byId("job-replay").onclick = () => again(job.id);
    byId("job-replayed").hidden = true;
    setText(
      byId("job-replayable"),
      job.replay === null
        ? "Not recorded: set record_dir, and record = \"failures\" at the handler."
        : `Recorded in ${job.replay}. A replay runs as the user of this dashboard.`,
    );
  }

  return {
    /** Shows the job that the address names. An ended job does not change. */
    async update(_state, id) {
      if (id === shown) return;
      shown = id;
      try {
        const [job] = await run("history", "--job", id);
        show(job);
      } catch (error) {
        shown = "";
        throw error;
      }
    },
    stop() {
      shown = "";
    },
  };
}

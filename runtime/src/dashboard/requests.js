// Requests and jobs as they end, filtered by the daemon.

import { follow } from "./api.js";
import { Table, byId, setText } from "./dom.js";
import { ENDED } from "./history.js";
import { counted } from "./format.js";

/** The most rows. */
const MOST = 100;

/** How often rows are shown, in milliseconds: thousands may end in a second. */
const PERIOD = 500;

export function requestsView() {
  const table = new Table(byId("requests-table"), ENDED, {
    key: ({ number }) => number,
    empty: "Nothing has ended since this view was opened.",
  });
  let [rows, count, dropped, isPaused] = [[], 0, 0, false];
  let [ending, timer, trouble] = [null, null, ""];

  function show() {
    const lost = dropped > 0 ? `, ${dropped} left out: this browser was too slow` : "";
    const state = isPaused ? "paused" : "live";
    setText(byId("requests-state"), trouble || `${state}, ${counted(count, "job")}${lost}`);
    if (!isPaused) table.update(rows);
  }

  function take(job) {
    if (job.dropped !== undefined) {
      dropped += job.dropped;
      return;
    }
    count += 1;
    rows = [{ ...job, number: count }, ...rows.slice(0, MOST - 1)];
  }

  async function listen() {
    ending?.abort();
    const own = new AbortController();
    ending = own;
    [rows, count, dropped, trouble] = [[], 0, 0, ""];
    const filter = byId("requests-filter").value.trim();
    try {
      await follow("tap", filter === "" ? [] : [filter], own.signal, take);
      trouble = "the daemon has ended the stream: Apply begins it again";
    } catch (error) {
      if (!own.signal.aborted) trouble = error.message;
    }
  }

  byId("requests-form").onsubmit = (event) => {
    event.preventDefault();
    listen();
  };
  byId("requests-pause").onclick = () => {
    isPaused = !isPaused;
    byId("requests-pause").setAttribute("aria-pressed", String(isPaused));
    show();
  };
  return {
    start() {
      listen();
      timer = setInterval(show, PERIOD);
    },
    stop() {
      ending?.abort();
      clearInterval(timer);
    },
  };
}

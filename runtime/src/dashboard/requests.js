// Requests and jobs as they end, filtered by the daemon.

import { Stream } from "./api.js";
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
  const stream = new Stream("the daemon has ended the stream: Apply begins it again");
  let timer = null;

  function show() {
    const lost = dropped > 0 ? `, ${dropped} left out: this browser was too slow` : "";
    const state = isPaused ? "paused" : "live";
    setText(byId("requests-state"), stream.trouble || `${state}, ${counted(count, "job")}${lost}`);
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

  function listen() {
    [rows, count, dropped] = [[], 0, 0];
    const filter = byId("requests-filter").value.trim();
    stream.begin("tap", filter === "" ? [] : [filter], take);
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
      stream.stop();
      clearInterval(timer);
    },
  };
}

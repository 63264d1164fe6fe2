// Begins the session, asks the daemon every second, and shows the view that the address names.

import { Refused, access, open, run } from "./api.js";
import { byId, setText } from "./dom.js";
import { Figures } from "./figures.js";
import { orDash, rate, size, span } from "./format.js";
import { handlersView } from "./handlers.js";
import { historyView } from "./history.js";
import { jobView } from "./job.js";
import { jobsView } from "./jobs.js";
import { logsView } from "./logs.js";
import { profileView } from "./profile.js";
import { requestsView } from "./requests.js";
import { routesView } from "./routes.js";
import { systemView } from "./system.js";

/** The time between two looks, in milliseconds. */
const PERIOD = 1000;

/** What the address of a link begins with, behind the path. */
const LINK = "#token=";

const VIEWS = {
  handlers: handlersView(),
  routes: routesView(),
  jobs: jobsView(),
  history: historyView(),
  job: jobView(),
  requests: requestsView(),
  logs: logsView(),
  profile: profileView(),
  system: systemView(),
};

const figures = new Figures();
let state = null;
let shown = { name: "", of: "" };
let isAsking = false;

/** Returns the view that the address names, and what it is about: `#job/ID`. */
function named() {
  const [name, of = ""] = location.hash.slice(1).split("/");
  return Object.hasOwn(VIEWS, name) ? { name, of } : { name: "handlers", of: "" };
}

function setConnection(kind, text) {
  const connection = byId("connection");
  if (connection.dataset.state === kind) return;
  connection.dataset.state = kind;
  setText(connection, text);
}

function complain(text) {
  const notice = byId("notice");
  notice.hidden = text === "";
  setText(notice, text);
}

function showSummary({ status, handlers }) {
  setText(byId("fact-gate"), status.gate);
  setText(byId("fact-uptime"), span(status.uptime_ms));
  setText(byId("fact-generation"), String(status.generation));
  setText(byId("fact-rate"), rate(handlers.reduce((sum, handler) => sum + (handler.rate ?? 0), 0)));
  setText(byId("fact-jobs"), String(status.jobs));
  setText(byId("fact-memory"), orDash(status.memory, size));
  setText(byId("fact-version"), status.version);
}

/** Brings the shown view up to date. */
async function update() {
  if (!state) return;
  const { name, of } = shown;
  await VIEWS[name]?.update?.(state, of);
}

/** Reports what went wrong, until the next success. */
function failed(error) {
  if (!(error instanceof Refused)) console.error(error);
  if (error.status === 401 || error.status === 0) {
    setConnection("lost", "no connection");
  } else if (error.status === 502) {
    setConnection("lost", "no daemon");
  }
  complain(error.message);
}

/** Asks the daemon, unless nobody looks or the last answer is still awaited. */
async function look() {
  if (document.hidden || isAsking) return;
  isAsking = true;
  try {
    const [handlers, status] = await Promise.all([run("handlers"), run("status")]);
    state = { ...state, status, handlers: figures.take(handlers) };
    showSummary(state);
    setConnection("live", "live");
    await update();
    complain("");
  } catch (error) {
    failed(error);
  } finally {
    isAsking = false;
  }
}

/** Shows the view that the address names, and tells the others to stop. */
async function show() {
  const next = named();
  if (next.name === shown.name && next.of === shown.of) return;
  const isFirst = shown.name === "";
  if (next.name !== shown.name) {
    VIEWS[shown.name]?.stop?.();
    for (const name of Object.keys(VIEWS)) byId(`view-${name}`).hidden = name !== next.name;
    for (const link of byId("views").querySelectorAll("a")) {
      const isCurrent = link.hash === `#${next.name === "job" ? "history" : next.name}`;
      if (isCurrent) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    }
    VIEWS[next.name].start?.(state);
  }
  shown = next;
  setText(byId("said"), "");
  // A screen reader goes on from the new view.
  if (!isFirst) byId("main").focus({ preventScroll: true });
  try {
    await update();
  } catch (error) {
    failed(error);
  }
}

/** Begins the session with the token of the link, which leaves the address at once. */
async function begin() {
  if (location.hash.startsWith(LINK)) {
    const token = location.hash.slice(LINK.length);
    history.replaceState(null, "", "#handlers");
    await open(token);
  }
  state = { access: await access(), handlers: [], status: null };
  byId("read-only").hidden = state.access.changes;
  state = { ...state, status: await run("status") };
}

byId("skip").onclick = (event) => {
  event.preventDefault();
  byId("main").focus();
};
for (const id of ["jobs-all", "history-handler", "history-failed"]) {
  byId(id).onchange = () => update().catch(failed);
}

addEventListener("hashchange", () => {
  // A new link in a tab that has this page already.
  if (location.hash.startsWith(LINK)) location.reload();
  else if (state?.status) show();
});

try {
  await begin();
  document.addEventListener("visibilitychange", look);
  await look();
  await show();
  setInterval(look, PERIOD);
} catch (error) {
  byId("view-handlers").hidden = false;
  failed(error);
}

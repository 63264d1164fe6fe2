// What handlers write to stderr and how jobs end, as it comes.

import { Stream } from "./api.js";
import { byId, element, setText, showOptions } from "./dom.js";
import { clock, counted } from "./format.js";

/** The most lines that are kept. */
const MOST = 1000;

/** The lines that the daemon sends first. */
const BEFORE = "200";

/** How often new lines are shown, in milliseconds. */
const PERIOD = 250;

export function logsView() {
  const list = byId("logs-lines");
  let [lines, fresh, isPaused, isAgain] = [[], [], false, false];
  const stream = new Stream("the daemon has ended the stream: choose the handler again");
  let timer = null;

  const text = (line) =>
    line.dropped === undefined
      ? `${line.handler} ${line.job} ${line.said ?? line.failed ?? line.ended}`
      : `${line.dropped} lines were left out: this browser was too slow`;
  const isWanted = (line) => text(line).toLowerCase().includes(byId("logs-filter").value.toLowerCase());

  function row(line) {
    if (line.dropped !== undefined) return element("li", { className: "muted" }, text(line));
    const who = line.job === null ? line.handler : element("a", { href: `#job/${line.job}`, className: "who" }, `${line.handler} ${line.job.slice(-6)}`);
    const end = line.failed === undefined ? `ended: ${line.ended}` : `failed: ${line.failed}`;
    const said = line.said ?? element("span", { className: "muted" }, end);
    return element("li", {}, element("time", { dateTime: line.time }, clock(line.time)), who, said);
  }

  function show() {
    if (isPaused) {
      setText(byId("logs-state"), `paused, ${counted(fresh.length, "new line")}`);
      return;
    }
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 40;
    const added = fresh;
    fresh = [];
    lines = [...lines, ...added].slice(-MOST);
    if (isAgain) {
      list.replaceChildren(...lines.filter(isWanted).map(row));
      isAgain = false;
    } else if (added.length > 0) {
      list.append(...added.filter(isWanted).map(row));
      while (list.children.length > MOST) list.firstElementChild.remove();
    }
    if (atEnd && added.length > 0) list.scrollTop = list.scrollHeight;
    setText(byId("logs-state"), stream.trouble || `following, ${counted(list.children.length, "line")} shown`);
  }

  function listen() {
    [lines, fresh, isAgain] = [[], [], true];
    const handler = byId("logs-handler").value;
    const args = ["-f", "-n", BEFORE, ...(handler === "" ? [] : [handler])];
    stream.begin("logs", args, (line) => {
      fresh.push(line);
      if (fresh.length > MOST) fresh.shift();
    });
  }

  byId("logs-form").onsubmit = (event) => event.preventDefault();
  byId("logs-handler").onchange = listen;
  byId("logs-filter").oninput = () => {
    isAgain = true;
    show();
  };
  byId("logs-pause").onclick = () => {
    isPaused = !isPaused;
    byId("logs-pause").setAttribute("aria-pressed", String(isPaused));
    show();
  };
  return {
    start() {
      listen();
      timer = setInterval(show, PERIOD);
    },
    update({ handlers }) {
      showOptions(byId("logs-handler"), handlers.map(({ name }) => name));
    },
    stop() {
      stream.stop();
      clearInterval(timer);
    },
  };
}

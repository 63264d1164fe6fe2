// A flame graph of a handler, from sampled stacks.

import { profile } from "./api.js";
import { Table, byId, element, setText, showOptions } from "./dom.js";
import { NONE, counted } from "./format.js";

const HEIGHT = 20;

/** Narrower functions are not drawn, in percent of the width. */
const NARROWEST = 0.3;

const COLUMNS = [
  { title: "Function", code: true, wrap: true, show: ({ name }) => name },
  { title: "Own", number: true, show: ({ own, all }) => share(own, all) },
  { title: "With callees", number: true, show: ({ total, all }) => share(total, all) },
  { title: "Samples", number: true, show: ({ own }) => String(own) },
];

const share = (part, all) => `${((part / all) * 100).toFixed(1)} %`;

/** Makes the tree of functions from lines of `handler;outer;inner COUNT`. */
export function tree(text, handler) {
  const root = { name: handler || "all handlers", count: 0, own: 0, callees: new Map() };
  for (const line of text.split("\n")) {
    const end = line.lastIndexOf(" ");
    const names = line.slice(0, end).split(";");
    const count = Number(line.slice(end + 1));
    if (end <= 0 || !(count > 0) || (handler && names[0] !== handler)) continue;
    let node = root;
    node.count += count;
    for (const name of handler ? names.slice(1) : names) {
      if (!node.callees.has(name)) node.callees.set(name, { name, count: 0, own: 0, callees: new Map(), caller: node });
      node = node.callees.get(name);
      node.count += count;
    }
    node.own += count;
  }
  return root;
}

/** Lists callees, those with the most samples first. */
const inOrder = (callees) => [...callees.values()].sort((one, other) => other.count - one.count);

/** Adds up the samples of each function, the most expensive first. */
function functions(root) {
  const all = new Map();
  const visit = (node, above) => {
    const one = all.get(node.name) ?? { name: node.name, own: 0, total: 0, all: root.count };
    one.own += node.own;
    // A function that calls itself counts once.
    if (!above.has(node.name)) one.total += node.count;
    all.set(node.name, one);
    const below = new Set(above).add(node.name);
    for (const callee of node.callees.values()) visit(callee, below);
  };
  for (const callee of root.callees.values()) visit(callee, new Set());
  return [...all.values()].sort((one, other) => other.own - one.own);
}

/** Draws a tree below its widened function. Returns the buttons by their nodes. */
function draw(box, root, wide, choose) {
  const buttons = new Map();
  const add = (node, depth, left, width, isDim) => {
    if (width < NARROWEST) return;
    const button = element("button", { type: "button", tabIndex: -1, className: isDim ? "dim" : "" }, node.name);
    const text = `${node.name}: ${share(node.count, root.count)}, ${counted(node.count, "sample")}`;
    button.title = text;
    button.setAttribute("aria-label", text);
    Object.assign(button.style, { left: `${left}%`, width: `${width}%`, top: `${depth * HEIGHT}px` });
    button.onclick = () => choose(node);
    buttons.set(node, button);
    if (isDim) return;
    let from = left;
    for (const callee of inOrder(node.callees)) {
      const part = (width * callee.count) / node.count;
      add(callee, depth + 1, from, part, false);
      from += part;
    }
  };
  const callers = [];
  for (let node = wide.caller; node; node = node.caller) callers.unshift(node);
  callers.forEach((caller, depth) => add(caller, depth, 0, 100, true));
  add(wide, callers.length, 0, 100, false);
  box.replaceChildren(...buttons.values());
  const deepest = Math.max(...[...buttons.values()].map((button) => parseFloat(button.style.top)));
  box.style.height = `${deepest + HEIGHT}px`;
  return buttons;
}

export function profileView() {
  const table = new Table(byId("profile-table"), COLUMNS, { key: ({ name }) => name });
  const box = byId("profile-flames");
  let [root, buttons, ending] = [null, new Map(), null];
  let hasProfiler = true;

  function choose(node) {
    buttons = draw(box, root, node, choose);
    focus(node);
  }

  function focus(node) {
    for (const button of buttons.values()) button.tabIndex = -1;
    const button = buttons.get(node);
    button.tabIndex = 0;
    button.focus();
  }

  /** Moves to the caller, to a callee, or to another callee of the caller. */
  box.onkeydown = (event) => {
    const node = [...buttons.keys()].find((one) => buttons.get(one) === document.activeElement);
    if (!node) return;
    const drawn = (callees) => inOrder(callees).filter((one) => buttons.has(one));
    const besides = node.caller ? drawn(node.caller.callees) : [];
    const place = besides.indexOf(node);
    const callees = drawn(node.callees);
    const next = { ArrowUp: node.caller, ArrowDown: callees[0], ArrowLeft: besides[place - 1], ArrowRight: besides[place + 1] }[event.key];
    if (!next || !buttons.has(next)) return;
    event.preventDefault();
    focus(next);
  };

  async function take() {
    ending = new AbortController();
    const { signal } = ending;
    const [handler, seconds] = [byId("profile-handler").value, byId("profile-seconds").value];
    byId("profile-take").disabled = true;
    setText(byId("profile-state"), `sampling for ${counted(Number(seconds), "second")}`);
    try {
      root = tree(await profile(seconds, signal), handler);
      const isEmpty = root.count === 0;
      box.hidden = isEmpty;
      byId("profile-table").hidden = isEmpty;
      setText(byId("profile-state"), isEmpty ? `${handler || "No handler"} has not computed meanwhile.` : `${counted(root.count, "sample")} of 10 ms`);
      if (!isEmpty) {
        table.update(functions(root).slice(0, 30));
        buttons = draw(box, root, root, choose);
        buttons.get(root).tabIndex = 0;
      }
    } catch (error) {
      setText(byId("profile-state"), signal.aborted ? NONE : error.message);
    }
    byId("profile-take").disabled = !hasProfiler;
  }

  byId("profile-form").onsubmit = (event) => {
    event.preventDefault();
    take();
  };
  return {
    start({ access }) {
      hasProfiler = access.profiler;
      byId("profile-take").disabled = !hasProfiler;
      if (!hasProfiler) setText(byId("profile-state"), "The profiler is off: set debug = true and reload, or start with -D, and open this page again.");
    },
    update({ handlers }) {
      showOptions(byId("profile-handler"), handlers.map(({ name }) => name));
    },
    stop() {
      ending?.abort();
    },
  };
}

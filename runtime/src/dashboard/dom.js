// Elements, tables that change in place, and questions. No text becomes markup.

/** Finds an element of the page. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`the page has no element ${id}`);
  return found;
}

/** Makes an element. `properties` are those of the DOM, `children` are elements and texts. */
export function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

/** Makes an element of SVG with these attributes. */
export function svg(name, attributes = {}, ...children) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Sets a text, unless the element has it: screen readers are told of changes. */
export function setText(target, text) {
  if (target.textContent !== text) target.textContent = text;
}

/** Shows pairs of a name and a value in a list. An unchanged list stays, with what a reader has selected in it. */
export function showPairs(list, pairs) {
  const made = pairs.flatMap(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]);
  if (list.textContent !== made.map(({ textContent }) => textContent).join("")) list.replaceChildren(...made);
}

/** Keeps the options of a list of handlers current, behind the first one, which stands for all. */
export function showOptions(select, names) {
  const there = [...select.options].slice(1).map((option) => option.value);
  if (there.length === names.length && names.every((name, place) => name === there[place])) return;
  const chosen = select.value;
  select.replaceChildren(select.options[0], ...names.map((name) => element("option", { value: name }, name)));
  select.value = names.includes(chosen) ? chosen : "";
}

/** Tells the reader what an action has done. */
export function say(text, kind = "good") {
  const said = byId("said");
  said.dataset.kind = kind;
  setText(said, text);
}

/** Asks before a change, makes it, and tells the reader what `make` returns, or why it failed. */
export async function change(question, yes, make) {
  if (!(await confirmed(question, yes))) return;
  try {
    say(await make());
  } catch (error) {
    say(error.message, "bad");
  }
}

/** Asks before a change is made. */
function confirmed(question, yes) {
  const dialog = byId("confirm");
  setText(byId("confirm-question"), question);
  setText(byId("confirm-yes"), yes);
  return new Promise((resolve) => {
    byId("confirm-yes").onclick = () => dialog.close("yes");
    byId("confirm-no").onclick = () => dialog.close("no");
    dialog.onclose = () => resolve(dialog.returnValue === "yes");
    dialog.returnValue = "no";
    dialog.showModal();
    byId("confirm-no").focus();
  });
}

/**
 * A table whose rows change in place, so that the focus and the place of a screen reader stay.
 *
 * A column has a `title`, and `show(item)`, which returns a text, or `fill(cell, item)`. `sort(item)` makes it sortable.
 * The first column names its row.
 */
export class Table {
  constructor(table, columns, { key, under = () => [], empty = "none", sorted = null, descending = true }) {
    Object.assign(this, { columns, key, under, empty, sorted, descending });
    this.items = [];
    this.rows = new Map();
    this.headings = columns.map((column) => this.heading(column));
    this.body = element("tbody");
    table.append(element("thead", {}, element("tr", {}, ...this.headings)), this.body);
    this.markSorted();
  }

  heading(column) {
    const { title, sort, number, rare } = column;
    const heading = element("th", { scope: "col", className: `${number ? "number" : ""} ${rare ? "rare" : ""}`.trim() });
    if (!sort) {
      heading.append(title === "" ? element("span", { className: "unseen" }, "Actions") : title);
      return heading;
    }
    const button = element("button", { type: "button", className: "sort" }, title);
    button.onclick = () => {
      this.descending = this.sorted === title ? !this.descending : Boolean(number);
      this.sorted = title;
      this.markSorted();
      this.update(this.items);
    };
    heading.append(button);
    return heading;
  }

  markSorted() {
    this.columns.forEach(({ title }, place) => {
      if (title === this.sorted && title !== "") {
        this.headings[place].setAttribute("aria-sort", this.descending ? "descending" : "ascending");
      } else {
        this.headings[place].removeAttribute("aria-sort");
      }
    });
  }

  inOrder(items) {
    const column = this.columns.find(({ title, sort }) => sort && title === this.sorted);
    if (!column) return items;
    const turn = this.descending ? -1 : 1;
    const compare = (one, other) => (one < other ? -1 : one > other ? 1 : 0);
    return [...items].sort((one, other) => turn * compare(column.sort(one) ?? -1, column.sort(other) ?? -1));
  }

  /** Shows these items. */
  update(items) {
    this.items = items;
    const focused = document.activeElement;
    const shown = this.inOrder(items).flatMap((item) => [[item, false], ...this.under(item).map((one) => [one, true])]);
    const wanted = new Set();
    let before = null;
    for (const [item, isUnder] of shown) {
      const key = this.key(item);
      wanted.add(key);
      const row = this.rows.get(key) ?? this.made(key, isUnder);
      this.columns.forEach((column, place) => this.fill(row.children[place], column, item));
      const next = before ? before.nextSibling : this.body.firstChild;
      if (next !== row) this.body.insertBefore(row, next);
      before = row;
    }
    for (const [key, row] of this.rows) {
      if (!wanted.has(key)) {
        row.remove();
        this.rows.delete(key);
      }
    }
    this.showEmpty(shown.length === 0);
    if (focused !== document.activeElement && this.body.contains(focused)) focused.focus();
  }

  made(key, isUnder) {
    const cells = this.columns.map(({ number, code, wrap, rare }, place) => {
      const classes = [number && "number", code && "code", wrap && "wrap", rare && "rare"].filter(Boolean).join(" ");
      return place === 0
        ? element("th", { scope: "row", className: classes })
        : element("td", { className: classes });
    });
    const row = element("tr", { className: isUnder ? "under" : "" }, ...cells);
    this.rows.set(key, row);
    return row;
  }

  fill(cell, { show, fill, tone }, item) {
    if (fill) {
      fill(cell, item);
    } else {
      setText(cell, show(item));
    }
    if (tone) {
      for (const name of ["good", "warn", "bad", "muted"]) cell.classList.toggle(name, tone(item) === name);
    }
  }

  showEmpty(isEmpty) {
    const there = this.body.querySelector(".empty");
    if (isEmpty && !there) {
      const cell = element("td", { className: "empty", colSpan: this.columns.length }, this.empty);
      this.body.append(element("tr", {}, cell));
    } else if (!isEmpty && there) {
      there.parentElement.remove();
    }
  }
}

/** Keeps the buttons of a cell: `wanted` lists a label, a name for screen readers, and what a click does. */
export function fillButtons(cell, wanted) {
  const box = cell.firstElementChild ?? cell.appendChild(element("div", { className: "buttons" }));
  wanted.forEach(({ label, name, click, danger }, place) => {
    const button = box.children[place] ?? box.appendChild(element("button", { type: "button" }));
    setText(button, label);
    button.className = danger ? "danger" : "";
    if (button.getAttribute("aria-label") !== name) button.setAttribute("aria-label", name);
    button.onclick = click;
  });
  while (box.children.length > wanted.length) box.lastElementChild.remove();
}

// Lists what keeps a keyboard, a screen reader or weak eyes from a part of the page that is shown now.
const problems = [];
const isShown = (element) => element.getClientRects().length > 0 && getComputedStyle(element).visibility === "visible";
const all = (selector) => [...document.querySelectorAll(selector)].filter(isShown);
const described = (element) => `<${element.tagName.toLowerCase()}${element.id ? ` id=${element.id}` : ""}> ${element.textContent.trim().slice(0, 30)}`;

const named = (element) =>
  [
    element.getAttribute("aria-label"),
    ...[...(element.labels ?? [])].map((label) => label.innerText),
    (element.getAttribute("aria-labelledby") ?? "").split(" ").map((id) => document.getElementById(id)?.innerText ?? "").join(" "),
    element.innerText,
  ].find((name) => (name ?? "").trim() !== "");
for (const element of all("button, a[href], input, select, [role=region], [role=group], [role=img], dialog[open], nav")) {
  const isWidget = element.matches("[role=region], [role=group], [role=img], dialog, nav");
  const name = isWidget ? element.getAttribute("aria-label") ?? element.getAttribute("aria-labelledby") : named(element);
  if (!name) problems.push(`no name: ${described(element)}`);
}
for (const table of all("table")) {
  if (!table.caption?.textContent.trim()) problems.push(`no caption: ${described(table)}`);
  for (const heading of table.querySelectorAll("th")) {
    if (!["col", "row"].includes(heading.scope)) problems.push(`no scope: ${described(heading)}`);
    if (!heading.textContent.trim()) problems.push(`an empty heading: ${described(table)}`);
  }
}
for (const svg of all("svg")) {
  if (svg.getAttribute("role") !== "img" && svg.getAttribute("aria-hidden") !== "true") problems.push(`no role: ${described(svg)}`);
}
const levels = all("h1, h2, h3, h4").map((heading) => Number(heading.tagName[1]));
levels.forEach((level, place) => {
  if (place > 0 && level > levels[place - 1] + 1) problems.push(`h${level} follows h${levels[place - 1]}`);
});
if (!document.documentElement.lang) problems.push("no language");
if (!document.querySelector("main") || all("h1").length !== 1) problems.push("one main and one h1 are wanted");
for (const element of all("[tabindex]")) {
  if (element.tabIndex > 0) problems.push(`an order of its own: ${described(element)}`);
}

// WCAG 2.2 §1.4.3: 4.5 to 1.
const channels = (colour) => (colour.match(/[\d.]+/g) ?? []).map(Number);
const luminance = ([red, green, blue]) => {
  const [r, g, b] = [red, green, blue].map((value) => {
    const share = value / 255;
    return share <= 0.04045 ? share / 12.92 : ((share + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const ground = (element) => {
  for (let at = element; at; at = at.parentElement) {
    const colour = channels(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] > 0) return colour;
  }
  return [255, 255, 255];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const seen = new Set();
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const isText = walker.currentNode.textContent.trim() !== "";
  if (!isText || seen.has(element) || !isShown(element) || element.closest(".unseen, .skip, svg, script, noscript, option, :disabled, .dim")) continue;
  seen.add(element);
  const [one, other] = [luminance(channels(getComputedStyle(element).color)), luminance(ground(element))];
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (ratio < 4.5) problems.push(`contrast ${ratio.toFixed(1)}: ${described(element)}`);
}
return problems;

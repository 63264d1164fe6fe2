// Values as text, as the command line shows them.

export const NONE = "–";

/** Formats a value, or a dash if there is none. */
export function orDash(value, format = String) {
  return value === null || value === undefined ? NONE : format(value);
}

/** Formats milliseconds, which are often few: `0.12 ms`, `12.3 ms`, `3.2 s`. */
export function ms(value) {
  if (value < 10) return `${value.toFixed(2)} ms`;
  if (value < 1000) return `${value.toFixed(1)} ms`;
  return `${(value / 1000).toFixed(2)} s`;
}

/** Formats bytes: `64 KiB`. */
export function size(bytes) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (bytes >= 1024 && unit < units.length - 1) {
    bytes /= 1024;
    unit += 1;
  }
  const digits = unit === 0 || bytes >= 100 ? 0 : 1;
  return `${bytes.toFixed(digits)} ${units[unit]}`;
}

/** Formats events a second: `0.5`, `12`, `15.3k`. */
export function rate(value) {
  if (value > 0 && value < 10) return value.toFixed(1);
  if (value < 10_000) return value.toFixed(0);
  return `${(value / 1000).toFixed(1)}k`;
}

/** Formats a time span in its two largest units: `3 d 4 h`. */
export function span(milliseconds) {
  const seconds = Math.floor(milliseconds / 1000);
  const parts = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
  const first = parts.findIndex(([length]) => seconds >= length);
  if (first === -1) return "0 s";
  let rest = seconds;
  const shown = parts.slice(first, first + 2).map(([length, unit]) => {
    const count = Math.floor(rest / length);
    rest %= length;
    return [count, unit];
  });
  return shown.filter(([count], place) => place === 0 || count > 0).map(([count, unit]) => `${count} ${unit}`).join(" ");
}

/** Formats the clock time of a moment in RFC 3339. */
export function clock(text) {
  const date = new Date(text);
  if (Number.isNaN(date.getTime())) return text;
  const two = (number) => String(number).padStart(2, "0");
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}.${String(date.getMilliseconds()).padStart(3, "0")}`;
}

/** Formats a count with its noun: `1 job`, `2 jobs`. */
export function counted(count, noun) {
  return `${count} ${noun}${count === 1 ? "" : "s"}`;
}

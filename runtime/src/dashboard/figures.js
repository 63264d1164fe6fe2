// Rates and percentiles of handlers, from reports of their counters.

/** How long a report stays in use, in milliseconds. */
const WINDOW = 10_000;

/** The points of a line of requests a second. */
const POINTS = 60;

/** The codes of failures at a limit. */
const LIMIT = /(_limit|_total)$/;

/** The last reports of all handlers. */
export class Figures {
  constructor() {
    this.samples = [];
    this.rates = new Map();
    this.outcomes = new Map();
  }

  /** Takes a new report and returns the figures of each handler. */
  take(handlers, now = performance.now()) {
    const last = this.samples.at(-1);
    this.samples.push({ at: now, handlers: new Map(handlers.map((handler) => [handler.name, handler])) });
    while (this.samples.length > 2 && now - this.samples[1].at >= WINDOW) this.samples.shift();
    const oldest = this.samples[0];
    for (const kept of [this.rates, this.outcomes]) {
      for (const name of kept.keys()) {
        if (!this.samples.at(-1).handlers.has(name)) kept.delete(name);
      }
    }
    return handlers.map((handler) => this.figures(handler, now, last, oldest));
  }

  figures(handler, now, last, oldest) {
    const before = last?.handlers.get(handler.name);
    const early = oldest.at < now ? sameVersion(oldest.handlers.get(handler.name), handler) : undefined;
    const seconds = last ? Math.max((now - last.at) / 1000, 0.001) : 0;
    const perSecond = (counter) => {
      if (!before) return null;
      // The counters of another version start again.
      const earlier = before.version === handler.version ? counter(before) : 0;
      return Math.max(counter(handler) - earlier, 0) / seconds;
    };
    // The failed jobs, and the errors that the handler has answered itself.
    const reasons = Object.entries(handler.reasons);
    if (handler.answered_errors > 0) reasons.push(["5xx", handler.answered_errors]);
    reasons.sort(([, one], [, other]) => other - one);
    const failures = (report) => Object.values(report.reasons).reduce((sum, count) => sum + count, report.answered_errors);
    const rates = this.rates.get(handler.name) ?? [];
    const rate = perSecond((report) => report.requests);
    if (rate !== null) rates.push(rate);
    if (rates.length > POINTS) rates.shift();
    this.rates.set(handler.name, rates);
    return {
      ...handler,
      rate,
      rates,
      times: durations(early?.durations ?? [], handler.durations),
      cpu: perSecond((report) => report.cpu_ms / 1000),
      failing: perSecond(failures),
      failed: failures(handler),
      limits_hit: reasons.filter(([code]) => LIMIT.test(code)).reduce((sum, [, count]) => sum + count, 0),
      errors: reasons,
      trial: handler.trial && trialFigures(handler, before, seconds),
      outcome: this.outcome(handler, before),
    };
  }

  /** Tells how the last trial of a handler ended, if that was seen, until another one begins. */
  outcome({ name, version, trial }, before) {
    if (trial) {
      this.outcomes.delete(name);
    } else if (before?.trial) {
      const end = version === before.trial.version ? "promoted" : "not promoted";
      this.outcomes.set(name, { ...before.trial, handler: name, rate: null, end });
    }
    return this.outcomes.get(name);
  }
}

function sameVersion(earlier, now) {
  return earlier?.version === now.version ? earlier : undefined;
}

function trialFigures(handler, before, seconds) {
  const { trial } = handler;
  const earlier = before?.trial?.version === trial.version ? before.trial.requests : null;
  const rate = earlier === null ? null : Math.max(trial.requests - earlier, 0) / seconds;
  return { ...trial, handler: handler.name, rate };
}

/** Returns the distribution of the requests between two histograms, or `null` if there were none. */
export function durations(before, now) {
  const counts = now.map(({ up_to_ms, count }, place) => {
    return [up_to_ms ?? Infinity, Math.max(count - (before[place]?.count ?? 0), 0)];
  });
  const longest = counts.findLast(([, count]) => count > 0);
  if (!longest) return null;
  return { p50: percentile(counts, 0.5), p99: percentile(counts, 0.99), max: longest[0] };
}

/** Returns the duration below which this share of the counts lies, spread evenly within a bucket. */
function percentile(counts, share) {
  let left = counts.reduce((sum, [, count]) => sum + count, 0) * share;
  let lower = 0;
  for (const [upper, count] of counts) {
    if (count > 0 && left <= count) {
      return Number.isFinite(upper) ? lower + ((upper - lower) * left) / count : lower;
    }
    left -= count;
    lower = upper;
  }
  return lower;
}

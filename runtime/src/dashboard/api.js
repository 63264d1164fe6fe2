// The admin API, behind the token of the session.

const KEY = "portcullis-token";

// The field of an event with its data.
const EVENT = "data: ";

// The token lives in this tab alone, and in no cookie.
let token = sessionStorage.getItem(KEY) ?? "";

/** A request that was refused, with the text of the response. */
export class Refused extends Error {
  constructor(status, message) {
    super(message.trim() || `status ${status}`);
    this.status = status;
  }
}

async function request(path, options = {}) {
  const headers = { Authorization: `Bearer ${token}`, ...options.headers };
  let response;
  try {
    response = await fetch(path, { cache: "no-store", ...options, headers });
  } catch (error) {
    if (options.signal?.aborted) throw error;
    throw new Refused(0, "`portcullis dashboard` has ended: run it again and open its link");
  }
  if (!response.ok) throw new Refused(response.status, await response.text());
  return response;
}

function query(args) {
  return args.length === 0 ? "" : "?" + args.map((arg) => `a=${encodeURIComponent(arg)}`).join("&");
}

/** Exchanges the token of the link for one of a session. The link works once. */
export async function open(link) {
  token = link;
  const { token: session } = await (await request("/dashboard/open", { method: "POST" })).json();
  token = session;
  sessionStorage.setItem(KEY, session);
}

/** Tells what this user may do. */
export async function access() {
  return (await request("/dashboard/access")).json();
}

/** Runs a built-in job and returns its reply. */
export async function run(name, ...args) {
  return (await request(`/jobs/${name}${query(args)}`, { method: "POST" })).json();
}

/**
 * Runs a built-in job and calls `each` with every line of its output, until it ends or is aborted. The lines come as
 * server-sent events. `EventSource` could not send the token.
 */
async function follow(name, args, signal, each) {
  const headers = { Accept: "text/event-stream" };
  const response = await request(`/jobs/${name}${query(args)}`, { method: "POST", signal, headers });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let begun = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const lines = (begun + value).split("\n");
    begun = lines.pop();
    for (const line of lines.filter((line) => line.startsWith(EVENT))) each(JSON.parse(line.slice(EVENT.length)));
  }
}

/** The output of a built-in job, as a view follows it until it begins again or stops. */
export class Stream {
  /** `ended` tells the reader that the daemon has ended the stream, and what to do. */
  constructor(ended) {
    Object.assign(this, { ended, ending: null, trouble: "" });
  }

  /** Follows a job instead of the one before. `trouble` says why no more lines come. */
  async begin(name, args, each) {
    this.stop();
    const own = new AbortController();
    [this.ending, this.trouble] = [own, ""];
    try {
      await follow(name, args, own.signal, each);
      this.trouble = this.ended;
    } catch (error) {
      if (!own.signal.aborted) this.trouble = error.message;
    }
  }

  stop() {
    this.ending?.abort();
  }
}

/** Takes a profile. Returns lines of stacks with their counts. */
export async function profile(seconds, signal) {
  return (await request(`/debug/profile?format=collapsed&seconds=${seconds}`, { signal })).text();
}

/** Runs a recorded job again. */
export async function replay(id) {
  return (await request(`/dashboard/replay?a=${encodeURIComponent(id)}`, { method: "POST" })).json();
}

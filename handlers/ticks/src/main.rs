//! Streams server-sent events: `GET /ticks?count=10&every_ms=1000`.
//!
//! Every event is flushed at once, so a browser's `EventSource` sees it immediately. The stream ends by itself with
//! an event `done`. An `EventSource` then reconnects with the `Last-Event-ID` that it saw. A stream that broke off
//! continues there; a finished stream gets a 204, which tells the browser to stop.

use portcullis_guest::{Error, Event, Events, Request, Response, serve};
use std::io;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// The longest stream: below the default `limits.time` of 30 s, which would cut it off before its `done`.
const LONGEST: Duration = Duration::from_secs(25);

/// The most events in one stream.
const MOST: u64 = 1000;

/// The shortest pause, so no client can turn the handler into a busy loop.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The parameters of one request.
#[derive(Debug, PartialEq)]
struct Plan {
    /// The number of the first event to send: 1, or one after the last that the client has seen.
    first: u64,
    count: u64,
    every: Duration,
}

fn main() -> ExitCode {
    serve(answer)
}

fn answer(request: Request) -> Result<Response, Error> {
    let plan = Plan::of(&request)?;
    if plan.first > plan.count {
        return Ok(Response::no_content());
    }
    Ok(Response::sse(move |events| plan.run(events, pause)))
}

impl Plan {
    fn of(request: &Request) -> Result<Plan, Error> {
        let count = number(request, "count", 10)?;
        let every = Duration::from_millis(number(request, "every_ms", 1000)?);
        if !(1..=MOST).contains(&count) {
            return Err(Error::bad_request(format!("count: {count} is not between 1 and {MOST}")));
        }
        if every < SHORTEST_PAUSE {
            return Err(Error::bad_request(format!("every_ms: {} or more", SHORTEST_PAUSE.as_millis())));
        }
        if every.checked_mul(count as u32).is_none_or(|whole| whole > LONGEST) {
            return Err(Error::bad_request(format!("count times every_ms: {} or less", LONGEST.as_millis())));
        }
        // A browser sends back the `id` of the last event. Any other value starts the stream afresh.
        let seen = request.header("last-event-id").and_then(|id| id.parse::<u64>().ok()).unwrap_or(0);
        Ok(Plan { first: seen.saturating_add(1), count, every })
    }

    /// Sends the events; `wait_until` is the clock.
    fn run(&self, events: &mut Events<'_>, wait_until: impl Fn(Instant)) -> io::Result<()> {
        let start = Instant::now();
        for (turn, number) in (self.first..=self.count).enumerate() {
            // Counted from the start, so the time for writing does not add up.
            wait_until(start + self.every * turn as u32);
            let of = self.count;
            let tick = Event::new(format!("{{\"tick\":{number},\"of\":{of}}}"));
            events.send(tick.name("tick").id(number.to_string()))?;
        }
        events.send(Event::new(format!("{{\"ticks\":{}}}", self.count)).name("done"))
    }
}

fn number(request: &Request, name: &str, default: u64) -> Result<u64, Error> {
    match request.query(name) {
        None => Ok(default),
        Some(text) => {
            text.parse().map_err(|_| Error::bad_request(format!("{name}: {text:?} is not a whole number")))
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the pause is what this handler is for; there is no event to wait for"
)]
fn pause(until: Instant) {
    std::thread::sleep(until.saturating_duration_since(Instant::now()));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(target: &str) -> Result<Plan, Error> {
        Plan::of(&Request::test("GET", target))
    }

    #[test]
    fn events_are_numbered_and_the_stream_says_when_it_is_done() {
        let plan = plan("/ticks?count=2&every_ms=10").unwrap();

        let sent = Response::sse(move |events| plan.run(events, |_| ()));

        let text = "id: 1\nevent: tick\ndata: {\"tick\":1,\"of\":2}\n\n\
                    id: 2\nevent: tick\ndata: {\"tick\":2,\"of\":2}\n\n\
                    event: done\ndata: {\"ticks\":2}\n\n";
        assert_eq!(sent.body_string(), text);
    }

    #[test]
    fn a_reconnecting_browser_goes_on_where_it_was_and_stops_at_the_end() {
        let seen = |id: &str| Request::test("GET", "/ticks?count=3").header("Last-Event-ID", id);

        assert_eq!(Plan::of(&seen("2")).unwrap().first, 3);
        assert_eq!(answer(seen("3").into()).unwrap().status(), 204);
        assert_eq!(Plan::of(&seen("nonsense")).unwrap().first, 1);
    }

    #[test]
    fn every_cap_holds_at_the_limit_and_refuses_one_past_it() {
        for good in ["count=1", "count=1000&every_ms=25", "count=1&every_ms=10", "count=25&every_ms=1000"] {
            assert!(plan(&format!("/ticks?{good}")).is_ok(), "{good} must be taken");
        }
        for bad in ["count=0", "count=1001&every_ms=10", "count=1&every_ms=9", "count=25&every_ms=1001"] {
            assert!(plan(&format!("/ticks?{bad}")).is_err(), "{bad} must be refused");
        }
        for bad in ["count=x", "count=-1", "every_ms=18446744073709551615", "every_ms="] {
            assert!(plan(&format!("/ticks?{bad}")).is_err(), "{bad} must be refused");
        }
    }
}

//! Server-sent events: `text/event-stream`, which `EventSource` reads in a browser.

use std::io::{self, Write};
use std::time::Duration;

use crate::Response;

/// One event. Source: the HTML standard, "Server-sent events".
#[derive(Clone, Default, Debug)]
#[must_use = "it is sent by Events::send"]
pub struct Event {
    data: String,
    name: Option<String>,
    id: Option<String>,
    retry: Option<Duration>,
}

/// The stream of events. Each event is sent at once.
pub struct Events<'a>(&'a mut dyn Write);

impl Response {
    /// Makes a 200 whose body is a stream of events, for as long as `send` runs.
    ///
    /// Sending fails when the client has gone: return that error. Set `limits.time` of the handler to the time
    /// for which a client may listen.
    ///
    /// ```
    /// use portcullis_guest::{Event, Response};
    ///
    /// let response = Response::sse(|events| {
    ///     events.send("hello")?;
    ///     events.send(Event::new("two\nlines").name("news").id("7"))
    /// });
    /// assert_eq!(response.field("content-type"), Some("text/event-stream"));
    /// assert_eq!(response.body_string(), "data: hello\n\nid: 7\nevent: news\ndata: two\ndata: lines\n\n");
    /// ```
    pub fn sse<F>(send: F) -> Response
    where
        F: FnOnce(&mut Events<'_>) -> io::Result<()> + 'static,
    {
        let response = Response::stream("text/event-stream", |out| send(&mut Events(out)));
        response.header("Cache-Control", "no-store")
    }
}

impl Event {
    /// Makes an event with a text, which may have several lines.
    pub fn new(data: impl Into<String>) -> Event {
        Event { data: data.into(), ..Event::default() }
    }

    /// Sets the name of the event. Without a name it is a `message`.
    pub fn name(self, name: impl Into<String>) -> Event {
        Event { name: Some(name.into()), ..self }
    }

    /// Sets the id, which a client sends as `Last-Event-ID` when it reconnects.
    pub fn id(self, id: impl Into<String>) -> Event {
        Event { id: Some(id.into()), ..self }
    }

    /// Sets how long a client waits before it reconnects.
    pub fn retry(self, time: Duration) -> Event {
        Event { retry: Some(time), ..self }
    }
}

/// An event with this text.
impl From<&str> for Event {
    fn from(data: &str) -> Event {
        Event::new(data)
    }
}

/// An event with this text.
impl From<String> for Event {
    fn from(data: String) -> Event {
        Event::new(data)
    }
}

impl Events<'_> {
    /// Sends an event, in one write.
    ///
    /// # Errors
    /// The client has gone, or a name or an id contains a line break or NUL.
    pub fn send(&mut self, event: impl Into<Event>) -> io::Result<()> {
        let Event { data, name, id, retry } = event.into();
        let mut text = String::new();
        for (field, value) in [("id", id), ("event", name)] {
            let Some(value) = value else { continue };
            if value.contains(['\n', '\r', '\0']) {
                let message = format!("{field}: {value:?} is more than one line, or has a NUL");
                return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
            }
            text.push_str(&format!("{field}: {value}\n"));
        }
        if let Some(retry) = retry {
            text.push_str(&format!("retry: {}\n", retry.as_millis()));
        }
        // A lone CR also ends a line in an event stream.
        for line in data.replace("\r\n", "\n").split(['\n', '\r']) {
            text.push_str(&format!("data: {line}\n"));
        }
        text.push('\n');
        self.0.write_all(text.as_bytes())?;
        self.0.flush()
    }

    /// Sends a comment, which clients ignore. It shows proxies that the connection is alive.
    ///
    /// # Errors
    /// The client has gone.
    pub fn keep_alive(&mut self) -> io::Result<()> {
        self.0.write_all(b":\n\n")?;
        self.0.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(event: Event) -> io::Result<String> {
        let mut out = Vec::new();
        Events(&mut out).send(event)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn no_word_of_a_client_makes_a_second_event() {
        let said = sent(Event::new("a\n\nevent: b\rid: 9\r\n").retry(Duration::from_secs(2))).unwrap();
        assert_eq!(said, "retry: 2000\ndata: a\ndata: \ndata: event: b\ndata: id: 9\ndata: \n\n");
        for event in [Event::new("").name("a\nb"), Event::new("").id("a\rb"), Event::new("").id("a\0")] {
            assert_eq!(sent(event).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        }
    }

    #[test]
    fn each_event_is_one_write() {
        struct Count(usize);
        impl Write for Count {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                Ok(bytes.len())
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let mut count = Count(0);
        let mut events = Events(&mut count);

        events.send(Event::new("a\nb").name("c")).unwrap();
        events.keep_alive().unwrap();

        assert_eq!(count.0, 2);
    }
}

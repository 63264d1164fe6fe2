//! Spans that guests make themselves, within bounds.

use std::time::SystemTime;

use opentelemetry::{SpanId, TraceId};

/// The most bytes of one span: its texts, and [`EACH`] for each attribute, event and link.
const BYTES: usize = 8 << 10;

/// The bytes of an attribute, an event or a link besides its text: about those of two strings.
const EACH: usize = 64;

/// The most attributes of a span, of an event and of a link, as SDKs have it by default.
const ATTRIBUTES: usize = 128;

/// The most events, and the most links, of a span.
const EVENTS: usize = 32;

/// A span that a guest has ended. Values of attributes are JSON.
#[derive(Clone, PartialEq, Debug)]
pub struct GuestSpan {
    /// Its id.
    pub id: SpanId,
    /// The span below which it is. `None` means that of its job.
    pub parent: Option<SpanId>,
    /// Its kind.
    pub kind: GuestSpanKind,
    /// Its name.
    pub name: String,
    /// When it started.
    pub start: SystemTime,
    /// When it ended.
    pub end: SystemTime,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
    /// Its events.
    pub events: Vec<GuestEvent>,
    /// Its links to other spans.
    pub links: Vec<GuestLink>,
    /// Its status.
    pub status: GuestSpanStatus,
    /// The name of the library that made it.
    pub scope: String,
    /// The version of that library.
    pub scope_version: Option<String>,
    /// How many attributes, events and links were left out.
    pub dropped: [u32; 3],
}

/// The kind of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GuestSpanKind {
    /// A request to another server.
    Client,
    /// The handling of a request.
    Server,
    /// A message that is sent.
    Producer,
    /// A message that is received.
    Consumer,
    /// Anything else.
    Internal,
}

/// The status of a span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum GuestSpanStatus {
    /// Not set.
    Unset,
    /// Successful.
    Ok,
    /// Failed, with a description.
    Error(String),
}

/// An event within a span.
#[derive(Clone, PartialEq, Debug)]
pub struct GuestEvent {
    /// Its name.
    pub name: String,
    /// When it happened.
    pub time: SystemTime,
    /// Its attributes.
    pub attributes: Vec<(String, String)>,
}

/// A link to another span.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GuestLink {
    /// The trace of the linked span.
    pub trace: TraceId,
    /// The linked span.
    pub span: SpanId,
    /// The attributes of the link.
    pub attributes: Vec<(String, String)>,
}

impl GuestSpan {
    /// Cuts the span to its bounds, and counts what is left out. Returns the bytes that it takes as well.
    #[must_use]
    pub fn bounded(mut self) -> (GuestSpan, usize) {
        let mut room = BYTES;
        for text in [&mut self.name, &mut self.scope] {
            cut(text, &mut room);
        }
        self.scope_version.iter_mut().for_each(|text| cut(text, &mut room));
        if let GuestSpanStatus::Error(text) = &mut self.status {
            cut(text, &mut room);
        }
        let attributes =
            kept(&mut self.attributes, ATTRIBUTES, |(key, value)| takes(&mut room, key.len() + value.len()));
        let events = kept(&mut self.events, EVENTS, |event| takes(&mut room, event.name.len()));
        let links = kept(&mut self.links, EVENTS, |_| takes(&mut room, 0));
        let below = self.events.iter_mut().map(|event| &mut event.attributes);
        for pairs in below.chain(self.links.iter_mut().map(|link| &mut link.attributes)) {
            // There is no count of these.
            let _lost = kept(pairs, ATTRIBUTES, |(key, value)| takes(&mut room, key.len() + value.len()));
        }
        for (dropped, lost) in self.dropped.iter_mut().zip([attributes, events, links]) {
            *dropped = dropped.saturating_add(u32::try_from(lost).unwrap_or(u32::MAX));
        }
        (self, size_of::<GuestSpan>() + BYTES - room)
    }
}

/// Cuts a text to the room that is left.
fn cut(text: &mut String, room: &mut usize) {
    let end = (0..=text.len().min(*room)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
    text.truncate(end);
    text.shrink_to_fit();
    *room -= end;
}

/// Takes room for one more element with this much text. Returns `false` if there is none.
fn takes(room: &mut usize, text: usize) -> bool {
    let left = room.checked_sub(EACH + text);
    *room = left.unwrap_or(*room);
    left.is_some()
}

/// Keeps the first elements that fit, up to a number, and returns the number of the others.
fn kept<T>(elements: &mut Vec<T>, max: usize, mut fits: impl FnMut(&T) -> bool) -> usize {
    let all = elements.len();
    let fitting = elements.iter().take(max).take_while(|element| fits(element)).count();
    elements.truncate(fitting);
    elements.shrink_to_fit();
    all - fitting
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_keeps_what_fits_and_counts_the_rest() {
        let attribute = |number: usize| (format!("{number:04}"), "x".repeat(1000));
        let event = GuestEvent { name: "e".to_owned(), time: SystemTime::UNIX_EPOCH, attributes: Vec::new() };
        let span = GuestSpan {
            id: SpanId::from(1),
            parent: None,
            kind: GuestSpanKind::Internal,
            name: "é".repeat(BYTES / 8),
            start: SystemTime::UNIX_EPOCH,
            end: SystemTime::UNIX_EPOCH,
            attributes: (0..20).map(attribute).collect(),
            events: vec![event; EVENTS + 2],
            links: Vec::new(),
            status: GuestSpanStatus::Unset,
            scope: "s".to_owned(),
            scope_version: None,
            dropped: [1, 0, 0],
        };

        let (span, bytes) = span.bounded();

        let room = BYTES - BYTES / 4 - 1;
        let attributes = room / (1004 + EACH);
        let events = (room - attributes * (1004 + EACH)) / (1 + EACH);
        assert_eq!((span.name.len(), span.attributes.len()), (BYTES / 4, attributes));
        assert_eq!(span.events.len(), events);
        let lost = [1 + 20 - attributes, EVENTS + 2 - events, 0].map(|lost| u32::try_from(lost).unwrap());
        assert_eq!(span.dropped, lost);
        assert!(bytes <= size_of::<GuestSpan>() + BYTES);
    }
}

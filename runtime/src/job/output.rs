//! The output of a job, and the destinations that receive it.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;

/// A destination for a job's output.
///
/// This is a trait because destinations are an open set: a pipe to a client, a log, a terminal, a tail.
pub trait Destination: Send + Sync + 'static {
    /// Waits until there is room, and returns the number of bytes. A destination that never makes a job wait
    /// returns `usize::MAX` at once.
    ///
    /// # Errors
    /// The destination accepts no more output.
    fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let _ = context;
        Poll::Ready(Ok(usize::MAX))
    }

    /// Takes the bytes. Never blocks. Bytes beyond the room are taken too.
    ///
    /// # Errors
    /// The destination accepts no more output.
    fn write(&self, bytes: &Bytes) -> io::Result<()>;

    /// Does the same with bytes that the caller does not need any more. A destination that keeps them overrides it:
    /// the first clone of a buffer allocates a counter for its owners.
    ///
    /// # Errors
    /// As for [`Destination::write`].
    fn write_owned(&self, bytes: Bytes) -> io::Result<()> {
        self.write(&bytes)
    }

    /// Called when the job has closed its output but goes on. The end of the job is signalled by the drop.
    fn close(&self) {}
}

/// The standard output or standard error of a job: every destination gets every byte.
///
/// The job runs at the pace of the slowest destination that makes it wait. If a destination fails, the job
/// gets the error, and the other destinations still get every byte. Without destinations, the bytes are
/// counted and dropped.
#[derive(Clone, Default)]
pub struct Output(Arc<SharedOutput>);

/// A view of the number of bytes written. It keeps no destination alive.
#[derive(Clone)]
pub struct WrittenBytes(Arc<AtomicU64>);

#[derive(Default)]
struct SharedOutput {
    /// Apart from the others: the stdout of most jobs has one destination and the stderr two, so neither takes memory
    /// for a list.
    first: [Option<Arc<dyn Destination>>; 2],
    others: Vec<Arc<dyn Destination>>,
    /// Shared on its own, since it is read after the destinations are gone.
    written: Arc<AtomicU64>,
    /// Whether the job has ended. Outputs that are dropped then were not closed by the job.
    over: AtomicBool,
}

impl SharedOutput {
    fn destinations(&self) -> impl Iterator<Item = &Arc<dyn Destination>> {
        self.first.iter().flatten().chain(&self.others)
    }

    fn add(&mut self, destination: Arc<dyn Destination>) {
        match self.first.iter_mut().find(|place| place.is_none()) {
            Some(place) => *place = Some(destination),
            None => self.others.push(destination),
        }
    }
}

impl Output {
    /// Makes an output that discards everything.
    pub fn nowhere() -> Output {
        Output::default()
    }

    /// Makes an output with one destination.
    pub fn of(destination: Arc<dyn Destination>) -> Output {
        Output(Arc::new(SharedOutput { first: [Some(destination), None], ..SharedOutput::default() }))
    }

    /// Makes an output with these destinations.
    pub fn to(destinations: Vec<Arc<dyn Destination>>) -> Output {
        let mut shared = SharedOutput::default();
        destinations.into_iter().for_each(|destination| shared.add(destination));
        Output(Arc::new(shared))
    }

    /// Adds a destination for everything that is written to this output from now on. Earlier clones do not have it.
    pub fn add(&mut self, destination: Arc<dyn Destination>) {
        if let Some(unshared) = Arc::get_mut(&mut self.0) {
            unshared.add(destination);
            return;
        }
        let SharedOutput { first, others, written, .. } = &*self.0;
        let (first, others, written) = (first.clone(), others.clone(), written.clone());
        let mut shared = SharedOutput { first, others, written, over: AtomicBool::new(false) };
        shared.add(destination);
        self.0 = Arc::new(shared);
    }

    /// Returns the number of bytes written so far.
    pub fn written(&self) -> u64 {
        self.0.written.load(Ordering::Relaxed)
    }

    /// Returns a view of the number of bytes, which outlives the output.
    pub fn look(&self) -> WrittenBytes {
        WrittenBytes(self.0.written.clone())
    }

    /// Waits until every destination has room, and returns how many bytes all of them take.
    ///
    /// # Errors
    /// A destination accepts no more output.
    pub fn poll_room(&self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut least = usize::MAX;
        for destination in self.0.destinations() {
            match destination.poll_room(context) {
                Poll::Ready(Ok(room)) => least = least.min(room),
                other => return other,
            }
        }
        Poll::Ready(Ok(least))
    }

    /// Writes to every destination, even if one fails. Never blocks.
    ///
    /// # Errors
    /// The first failure. The other destinations have the bytes nevertheless.
    pub fn write(&self, bytes: &Bytes) -> io::Result<()> {
        self.0.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        let mut outcome = Ok(());
        for destination in self.0.destinations() {
            let written = destination.write(bytes);
            outcome = outcome.and(written);
        }
        outcome
    }

    /// Does the same with bytes that the caller does not need any more. If there is one destination, it gets them.
    ///
    /// # Errors
    /// As for [`Output::write`].
    pub fn write_owned(&self, bytes: Bytes) -> io::Result<()> {
        let [Some(only), None] = &self.0.first else { return self.write(&bytes) };
        self.0.written.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        only.write_owned(bytes)
    }

    /// Tells every destination that the job has closed this output. Does nothing if the job has ended.
    pub fn close(&self) {
        if !self.0.over.load(Ordering::Acquire) {
            self.0.destinations().for_each(|destination| destination.close());
        }
    }

    /// Marks the job as ended.
    pub fn end(&self) {
        self.0.over.store(true, Ordering::Release);
    }

    /// Writes all the bytes, waiting for room.
    ///
    /// # Errors
    /// The first failure.
    pub async fn write_all(&self, bytes: impl Into<Bytes>) -> io::Result<()> {
        let mut rest = bytes.into();
        while !rest.is_empty() {
            let room = std::future::poll_fn(|context| self.poll_room(context)).await?;
            self.write_owned(rest.split_to(room.min(rest.len())))?;
        }
        Ok(())
    }
}

impl WrittenBytes {
    /// Returns the number of bytes written so far.
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::{Tail, pipe};

    #[test]
    fn every_destination_gets_every_byte_even_after_one_failed() {
        let (broken, reader) = pipe(1);
        drop(reader);
        let tail = Tail::new(100);
        let output = Output::to(vec![Arc::new(broken), Arc::new(tail.clone())]);

        let outcome = output.write(&Bytes::from_static(b"first\nlast\n"));

        assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(tail.last_line(), "last");
        assert_eq!(output.written(), 11);
    }

    #[test]
    fn bytes_that_are_given_away_reach_the_only_destination_without_a_copy_and_all_of_several() {
        let ((writer, mut reader), (kept, also)) = (pipe(9), (Tail::new(9), Tail::new(9)));
        let piece = Bytes::from(b"abc".to_vec());
        let place = piece.as_ptr();
        let mut output = Output::of(Arc::new(writer));
        output.write_owned(piece).unwrap();

        let read = reader.take().unwrap();

        assert_eq!((&read[..], read.as_ptr(), read.is_unique()), (&b"abc"[..], place, true));
        output.add(kept.destination());
        output.add(also.destination());
        output.write_owned(Bytes::from_static(b"de")).unwrap();
        Output::nowhere().write_owned(Bytes::from_static(b"de")).unwrap();
        assert_eq!(reader.take().as_deref(), Some(&b"de"[..]));
        assert_eq!((kept.text(), also.text(), output.written()), ("de".to_owned(), "de".to_owned(), 5));
    }

    #[test]
    fn an_added_destination_gets_what_follows_and_earlier_clones_do_not_have_it() {
        let tails = [Tail::new(100), Tail::new(100), Tail::new(100)];
        let [first, second, third] = tails.each_ref().map(|tail| Arc::new(tail.clone()));
        let mut output = Output::to(vec![first]);
        output.write(&Bytes::from_static(b"a")).unwrap();

        output.add(second);
        let earlier = output.clone();
        output.add(third);
        output.write(&Bytes::from_static(b"b")).unwrap();
        earlier.write(&Bytes::from_static(b"c")).unwrap();

        assert_eq!(tails.map(|tail| tail.text()), ["abc", "bc", "b"]);
        assert_eq!((output.written(), earlier.written()), (3, 3));
    }
}

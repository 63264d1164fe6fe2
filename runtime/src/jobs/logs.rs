//! `logs [-f] [-n N] [NAME]`: what jobs said and how they ended, one JSON object a line.

use std::sync::{Arc, Weak};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::json;

use super::tell::tell;
use crate::engine::{Batch, Engine, Event, Line};
use crate::job::{BUILTIN, Fault, Handler, Job, Name, Run, Status, Tenure};

/// Tells the journal of this engine.
pub struct TellLogs {
    /// The engine, which holds this job.
    pub engine: Weak<Engine>,
}

/// The most handlers that a refusal names.
const SHOWN: usize = 50;

/// What is asked for.
#[derive(PartialEq, Eq, Debug)]
struct Wish {
    name: Option<String>,
    follow: Follow,
    /// How many of the lines that are there.
    last: usize,
}

/// What comes after the lines that are there.
#[derive(PartialEq, Eq, Debug)]
enum Follow {
    End,
    Future,
}

impl Handler for TellLogs {
    fn run(self: Arc<Self>, job: Job) -> Run {
        Box::pin(async move {
            // Not held while we wait: the engine's end is the journal's, not the other way round.
            let engine = self.engine.upgrade().ok_or(Fault::Draining)?;
            let journal = engine.journal().clone();
            let wish = Wish::read(&job.args).and_then(|wish| wish.checked(&engine));
            drop(engine);
            let wish = match wish {
                Ok(wish) => wish,
                Err(error) => return tell(&job, Err(error)).await,
            };
            let (recent, mut follower) = match wish.follow {
                Follow::End => (journal.recent(), None),
                Follow::Future => {
                    let (recent, follower) = journal.follow();
                    (recent, Some(follower))
                }
            };
            let recent: Vec<_> = recent.iter().filter(|line| wish.wants(line)).collect();
            let from = recent.len().saturating_sub(wish.last);
            let mut text: String = recent[from..].iter().map(|line| show(line)).collect();
            loop {
                // A reader that takes its time makes us wait here, and nobody else.
                job.stdout.write_all(text).await.map_err(|_| Fault::ReaderGone)?;
                let Some(follower) = &mut follower else { return Ok(Status::OK) };
                let Some(Batch { dropped, lines }) = follower.next().await else { return Ok(Status::OK) };
                text = match dropped {
                    0 => String::new(),
                    dropped => format!("{}\n", json!({ "dropped": dropped })),
                };
                text.extend(lines.iter().filter(|line| wish.wants(line)).map(|line| show(line)));
            }
        })
    }

    fn tenure(&self) -> Tenure {
        Tenure::Attendance
    }
}

impl Wish {
    fn read(args: &[String]) -> Result<Wish> {
        let mut wish = Wish { name: None, follow: Follow::End, last: usize::MAX };
        let mut args = args.iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "-f" => wish.follow = Follow::Future,
                "-n" => {
                    let number = args.next().and_then(|number| number.parse().ok());
                    wish.last = number.context("-n: wanted a number of lines")?;
                }
                name if wish.name.is_none() && !name.starts_with('-') => wish.name = Some(name.to_owned()),
                other => bail!("{other:?}: usage: logs [-f] [-n N] [NAME]"),
            }
        }
        Ok(wish)
    }

    /// Refuses a name that nothing has, and nothing had lately.
    fn checked(self, engine: &Engine) -> Result<Wish> {
        let Some(name) = self.name.as_deref() else { return Ok(self) };
        let catalog = engine.live().pin();
        let is_known = catalog.handlers.contains_key(name)
            || BUILTIN.contains(&name)
            || engine.journal().recent().iter().any(|line| line.handler.as_str() == name);
        let handlers: Vec<&str> = catalog.handlers.keys().map(Name::as_str).take(SHOWN).collect();
        let more = match catalog.handlers.len().saturating_sub(SHOWN) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        ensure!(
            is_known,
            "there is no handler or job {name:?}; handlers: {}{more}; jobs of the daemon: {}",
            if handlers.is_empty() { "none".to_owned() } else { handlers.join(", ") },
            BUILTIN.join(", ")
        );
        Ok(self)
    }

    fn wants(&self, line: &Line) -> bool {
        self.name.as_ref().is_none_or(|name| name == line.handler.as_str())
    }
}

fn show(line: &Line) -> String {
    let (said, ended) = match &line.event {
        Event::Said(text) => (Some(text), None),
        Event::Ended(text) => (None, Some(text)),
    };
    let mut object = json!({
        "time": line.time,
        "job": line.job.id.to_string(),
        "handler": line.handler.as_str(),
    });
    if let Some(parent) = line.job.parent {
        object["parent"] = parent.to_string().into();
    }
    for (key, text) in [("said", said), ("ended", ended)] {
        if let Some(text) = text {
            object[key] = text.as_str().into();
        }
    }
    format!("{object}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(args: &[&str]) -> Result<Wish> {
        Wish::read(&args.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn a_wish_is_read_in_any_order() {
        let wanted = Wish { name: Some("hello".to_owned()), follow: Follow::Future, last: 3 };
        assert_eq!(wish(&["-n", "3", "hello", "-f"]).unwrap(), wanted);
        assert_eq!(wish(&[]).unwrap(), Wish { name: None, follow: Follow::End, last: usize::MAX });
        for bad in [&["-n"][..], &["-n", "x"], &["a", "b"], &["-x"]] {
            assert!(wish(bad).is_err(), "{bad:?}");
        }
    }
}

//! `plan FILE` or `plan - [DIR]`: what a reload of a configuration would change. Changes nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Error, Result, anyhow};
use serde_json::Value;

use super::changes::{self, Side};
use super::generations::Generations;
use super::load::{BUILTIN, lines};
use super::standing::Standing;
use super::tell::tell;
use crate::config::{self, Config};
use crate::job::{Fault, Handler, Job, Run, Tenure};
use crate::net::{Tls, differences};

/// Compares configurations with what is live.
pub struct Plan {
    /// The road of the catalog.
    pub generations: Arc<Generations>,
    /// What else would change.
    pub standing: Arc<Standing>,
    /// Puts over a configuration what the command line says.
    pub overlay: Overlay,
}

/// Puts the flags of the command line over a configuration.
///
/// # Errors
/// The two do not go together.
pub type Overlay = Arc<dyn Fn(&mut Config) -> Result<()> + Send + Sync>;

/// A configuration that is to be read.
enum Source {
    File(PathBuf),
    Text { text: String, base: PathBuf },
}

impl Handler for Plan {
    fn run(self: Arc<Self>, mut job: Job) -> Run {
        Box::pin(async move {
            let source = match &job.args[..] {
                [dash, base @ ..] if dash == "-" && base.len() < 2 => {
                    let base = base.first().map_or(".", String::as_str).into();
                    let text = job.stdin.read_to_end(config::LARGEST).await?;
                    String::from_utf8(text)
                        .map(|text| Source::Text { text, base })
                        .map_err(|_| anyhow!("the configuration is not UTF-8"))
                }
                [file] => Ok(Source::File(file.into())),
                _ => Err(anyhow!("usage: plan FILE, or plan - [DIR] with the text on stdin")),
            };
            let planning = move || source.and_then(|source| self.plan(source));
            // Compiling takes seconds and must not hold up the requests of this thread.
            let planned = tokio::task::spawn_blocking(planning).await;
            let planned = planned.map_err(|failure| Fault::Host(anyhow!("planning failed: {failure}")))?;
            tell(&job, planned.map(|plan| plan.to_string())).await
        })
    }

    fn tenure(&self) -> Tenure {
        Tenure::Attendance
    }
}

impl Plan {
    fn plan(&self, source: Source) -> Result<Value> {
        let mut config = source.read()?;
        (self.overlay)(&mut config)?;
        let live = self.standing.server.engine.live().pin();
        let mut handlers = BTreeMap::new();
        let mut errors: Vec<Error> = Vec::new();
        for handler in &config.handlers {
            let name = handler.name.as_str();
            let entry = match BUILTIN.contains(&name) {
                true => Err(anyhow!("this is the name of a built-in job: choose another")),
                false => self.generations.loader.entry(handler),
            };
            match entry {
                Ok(entry) => drop(handlers.insert(handler.name.clone(), entry)),
                Err(error) => errors.push(error.context(format!("handler {name:?}"))),
            }
        }
        let tls = match config.tls.as_ref().map(Tls::load).transpose() {
            Ok(tls) => tls,
            Err(refused) => {
                errors.extend(refused);
                None
            }
        };
        if !errors.is_empty() {
            return Err(lines(&errors));
        }
        let routes = config.routes(&handlers);
        let routes = routes.map_err(|errors| lines(&errors.into_iter().map(Error::from).collect::<Vec<_>>()));
        let routes = routes?;
        let unlike = differences(self.standing.tls().as_deref(), tls.as_ref());
        let settings = changes::settings(&self.standing.config.load(), &config, unlike);
        Ok(changes::between(Side::of(&live), Side { handlers: &handlers, routes: &routes }, settings))
    }
}

impl Source {
    fn read(self) -> Result<Config> {
        Ok(match self {
            Source::File(path) => config::load(&path)?,
            Source::Text { text, base } => config::parse(&text, Path::new(&base), "stdin")?,
        })
    }
}

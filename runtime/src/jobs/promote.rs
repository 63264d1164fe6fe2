//! `promote NAME`: ends the trial of a handler for the version on trial, before its verdict.

use std::sync::Arc;

use anyhow::{Context as _, Result, bail};
use tracing::info;

use super::api::{PromoteCommand, PromoteReply};
use super::generations::Generations;
use super::reply::ReplyJob;
use crate::catalog::{Catalog, Judgement};
use crate::engine::Engine;
use crate::job::{HandlerVersion, Job, Name};

/// Promotes versions on trial.
pub struct Promote {
    /// Publishes catalogs.
    pub generations: Arc<Generations>,
}

impl ReplyJob for Promote {
    type Command = PromoteCommand;

    async fn answer(&self, engine: &Arc<Engine>, job: &Job) -> Result<PromoteReply> {
        let PromoteCommand { name } = PromoteCommand::decode(&job.args)?;
        let turn = self.generations.turn(engine).await?;
        let (on_trial, serving) = versions(&turn.base, &name)?;
        let next = turn.base.with(&on_trial);
        turn.publish(next);
        info!(
            "{name}: an operator has promoted version {}, which replaces {}",
            on_trial.version, serving.version
        );
        self.generations.refresh_promoted(engine, &on_trial).await;
        let (old, new) = (serving.version.clone(), on_trial.version.clone());
        Ok(PromoteReply { handler: name.to_string(), old, new })
    }
}

/// Finds the version on trial and the serving version.
///
/// # Errors
/// There is no such handler, no trial, or its version has failed while the promotion waited for its turn.
fn versions(catalog: &Catalog, name: &Name) -> Result<(Arc<HandlerVersion>, Arc<HandlerVersion>)> {
    let Some(serving) = catalog.handlers.get(name).cloned() else {
        bail!("there is no handler {:?}", name.as_str());
    };
    let tried = catalog.trials.get(name).with_context(|| format!("{name}: no version is on trial"))?;
    match tried.trial.verdict() {
        Some(Judgement::GoBack(why)) => {
            let version = &tried.entry.version;
            bail!(
                "{name}: version {version} has failed its trial: {why}; to serve it all the same, swap it in"
            )
        }
        Some(Judgement::Promote) | None => Ok((tried.entry.clone(), serving)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use super::*;
    use crate::catalog::{Percent, Routes, Rules};

    #[test]
    fn a_version_that_has_failed_its_trial_is_not_promoted() {
        let (serving, tried) = (Arc::new(HandlerVersion::idle("one")), Arc::new(HandlerVersion::idle("one")));
        let name = serving.name.clone();
        let handlers = BTreeMap::from([(name.clone(), serving.clone())]);
        let rules = Rules { time: Duration::from_secs(60), requests: 1, slower: None };
        let catalog = Catalog::default().next(handlers, Routes::default());
        let catalog = catalog.with_trial(tried.clone(), Percent::new(50).unwrap(), rules);
        let (on_trial, beside) = versions(&catalog, &name).unwrap();
        assert!(Arc::ptr_eq(&on_trial, &tried) && Arc::ptr_eq(&beside, &serving));

        catalog.trials[&name].trial.go_back("4 of 5 requests failed");

        let refused = versions(&catalog, &name).err().unwrap().to_string();
        assert!(refused.contains("has failed its trial: 4 of 5 requests failed"), "{refused}");
    }
}

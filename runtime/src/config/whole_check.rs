//! Checks what concerns several parts of the configuration, once the flags have been applied.

use std::path::Path;

use super::model::{ADMIN_MODE, Config, UnixOptions};
use super::report::{ConfigError, ConfigErrors};
use crate::access::OperatorRights;
use crate::net::Endpoint;

impl Config {
    /// Checks what can be checked only after the flags have been applied. `file` is the path of the
    /// configuration, as it was given.
    ///
    /// # Errors
    /// `idle_exit` is set, but nothing would start the daemon again, or a handler has a schedule. A key
    /// about the admin socket is set without `admin`. A path that the daemon looks up lies where a
    /// handler may write.
    pub fn check_whole(&self, file: &Path) -> Result<(), ConfigErrors> {
        self.check_with(self.exchangeable(file), file)
    }

    /// As [`check_whole`](Config::check_whole), for a daemon that serves already: its loader checks where handlers may
    /// write, since it knows which directories it holds.
    ///
    /// # Errors
    /// The others of [`check_whole`](Config::check_whole).
    pub fn check_again(&self, file: &Path) -> Result<(), ConfigErrors> {
        self.check_with(self.readable_files(), file)
    }

    fn check_with(&self, more: Vec<ConfigError>, file: &Path) -> Result<(), ConfigErrors> {
        let alone = [self.check_admin(), self.check_idle_exit()].into_iter().filter_map(Result::err);
        let errors: Vec<ConfigError> = alone.chain(more).collect();
        let file = file.display().to_string();
        if errors.is_empty() { Ok(()) } else { Err(ConfigErrors { file, errors }) }
    }

    /// Checks that a daemon with `idle_exit` is socket-activated and has no schedules.
    fn check_idle_exit(&self) -> Result<(), ConfigError> {
        let ours = self.listen.iter().find(|endpoint| !matches!(endpoint, Endpoint::Fd(_)));
        match (self.idle_exit, ours) {
            (Some(_), Some(endpoint)) => Err(ConfigError {
                line: 0,
                key: "idle_exit".to_owned(),
                message: format!(
                    "needs sockets of systemd, which starts the daemon again: listen has {endpoint}, write fd:// or leave idle_exit out"
                ),
            }),
            (Some(_), None) => self.check_schedules(),
            (None, _) => Ok(()),
        }
    }

    /// Checks that keys about the admin socket are set only together with `admin`.
    fn check_admin(&self) -> Result<(), ConfigError> {
        let UnixOptions { group, mode } = &self.admin_access;
        let key = match (&self.admin, group, *mode) {
            (None, Some(_), _) => "admin_group",
            (None, None, mode) if mode != ADMIN_MODE => "admin_mode",
            (None, None, _) if self.admin_group_access != OperatorRights::All => "admin_group_access",
            (Some(_), ..) | (None, None, _) => return Ok(()),
        };
        Err(ConfigError {
            line: 0,
            key: key.to_owned(),
            message: "needs admin: set admin = \"unix://PATH\", or leave it out".to_owned(),
        })
    }

    /// Checks that no handler has a schedule, since a daemon that exited would not run it.
    fn check_schedules(&self) -> Result<(), ConfigError> {
        let Some(handler) = self.handlers.iter().find(|handler| handler.schedule.is_some()) else {
            return Ok(());
        };
        Err(ConfigError {
            line: handler.line,
            key: format!("handler.{}.schedule", handler.name),
            message:
                "cannot be combined with idle_exit: a daemon that has ended runs nothing; leave one of them out"
                    .to_owned(),
        })
    }
}

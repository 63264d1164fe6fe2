//! The options under which sockets are bound.

/// The options under which sockets are bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindOptions {
    /// The group of Unix sockets, by name or number. `None` keeps the daemon's own group.
    pub unix_group: Option<String>,
    /// The permissions of Unix sockets, at most `0o777`.
    pub unix_mode: u32,
    /// How many connections may wait to be accepted. The kernel caps it at `net.core.somaxconn`.
    pub backlog: u32,
}

impl Default for BindOptions {
    fn default() -> BindOptions {
        // 4096 is the default of net.core.somaxconn since Linux 5.4; 0660 is docker's socket.
        BindOptions { unix_group: None, unix_mode: 0o660, backlog: 4096 }
    }
}

impl BindOptions {
    /// The backlog as listen(2) takes it.
    pub(super) fn backlog_for_kernel(&self) -> i32 {
        i32::try_from(self.backlog).unwrap_or(i32::MAX)
    }
}

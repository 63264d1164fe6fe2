//! Slots for long requests to the admin socket, so that connections are left for short ones.
//!
//! A quarter of the slots and of the connections is kept for root and the user of the daemon. Others whom the mode of the
//! socket lets in cannot lock them out.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::http::refusal::Refusal;
use crate::job::AdminQuota;

/// Profiles at once. A person looks at each, and each tick is counted for all of them.
const PROFILES: usize = 4;

/// Jobs at once that change the daemon. One of them runs; the others wait.
const CHANGES: usize = 12;

/// Jobs at once that last until their client ends them.
const OPEN: usize = 32;

/// The slots for each kind of long request.
pub struct AdminSlots {
    profiles: SlotKind,
    changes: SlotKind,
    open: SlotKind,
}

/// The slots for one kind of long request.
struct SlotKind {
    max: usize,
    all: Arc<Semaphore>,
    /// The part of them that users other than root and the user of the daemon may have.
    of_others: Arc<Semaphore>,
}

/// A slot. Dropping it returns it.
pub(in crate::http) struct AdminSlot {
    _permit: OwnedSemaphorePermit,
    /// `None` for root and the user of the daemon.
    _of_others: Option<OwnedSemaphorePermit>,
}

/// Who asks for a slot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::http) enum SlotUser {
    /// root, or the user of the daemon.
    Owner,
    /// Any other user.
    Other,
}

impl AdminSlots {
    /// The connection limit of the admin socket: 16 more than the slots can hold.
    pub const CONNECTIONS: usize = PROFILES + CHANGES + OPEN + 16;

    /// The limit of the connections of users who are neither root nor the user of the daemon. A fifth more are let in while
    /// idle ones of theirs leave, so a quarter of all is never theirs.
    pub const OF_OTHERS: usize = 40;

    /// Takes a slot for a profile.
    ///
    /// # Errors
    /// All slots are taken.
    pub(in crate::http) fn profile(&self, user: SlotUser) -> Result<AdminSlot, Refusal> {
        self.profiles.take(user, |max| {
            format!("{max} profiles are being taken, which is the limit; wait for one to end")
        })
    }

    /// Takes a slot for a job. Returns `None` for a job that needs no slot because it is short.
    ///
    /// # Errors
    /// All slots of the kind are taken.
    pub(in crate::http) fn job(
        &self,
        quota: AdminQuota,
        user: SlotUser,
    ) -> Result<Option<AdminSlot>, Refusal> {
        let slot = match quota {
            AdminQuota::None => return Ok(None),
            AdminQuota::Change => self.changes.take(user, |max| {
                format!(
                    "{max} changes ({}) are running or queued, which is the limit; wait for one to end",
                    quota.jobs()
                )
            }),
            AdminQuota::LongLived => self.open.take(user, |max| {
                format!(
                    "{max} long jobs ({}) run for the admin socket, which is the limit; end one",
                    quota.jobs()
                )
            }),
        };
        slot.map(Some)
    }
}

impl Default for AdminSlots {
    fn default() -> AdminSlots {
        let [profiles, changes, open] = [PROFILES, CHANGES, OPEN].map(SlotKind::new);
        AdminSlots { profiles, changes, open }
    }
}

impl SlotKind {
    fn new(max: usize) -> SlotKind {
        let [all, of_others] = [max, max - max / 4].map(|count| Arc::new(Semaphore::new(count)));
        SlotKind { max, all, of_others }
    }

    /// Takes a slot. `full` says that this many are taken.
    fn take(&self, user: SlotUser, full: impl Fn(usize) -> String) -> Result<AdminSlot, Refusal> {
        let take = |slots: &Arc<Semaphore>| slots.clone().try_acquire_owned();
        let of_others = match user {
            SlotUser::Owner => None,
            SlotUser::Other => Some(take(&self.of_others).map_err(|_| {
                let rest = format!("; {} more are kept for root and the user of the daemon", self.max / 4);
                Refusal::Occupied(full(self.max - self.max / 4) + &rest)
            })?),
        };
        let permit = take(&self.all).map_err(|_| Refusal::Occupied(full(self.max)))?;
        Ok(AdminSlot { _permit: permit, _of_others: of_others })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_who_may_only_read_leave_slots_to_root() {
        let slots = AdminSlots::default();
        let take = |user| slots.job(AdminQuota::LongLived, user).ok().flatten();

        let others: Vec<_> = (0..OPEN).filter_map(|_| take(SlotUser::Other)).collect();
        let profiles: Vec<_> = (0..PROFILES).filter_map(|_| slots.profile(SlotUser::Other).ok()).collect();

        assert_eq!((others.len(), profiles.len()), (24, 3));
        let owned: Vec<_> = (0..OPEN).filter_map(|_| take(SlotUser::Owner)).collect();
        assert_eq!(owned.len(), 8);
        assert!(slots.profile(SlotUser::Owner).is_ok() && slots.profile(SlotUser::Other).is_err());
    }
}

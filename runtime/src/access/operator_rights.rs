//! What a client of the admin socket may do.

/// What a client of the admin socket may do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OperatorRights {
    /// Everything.
    All,
    /// Look. It can neither change the daemon nor run a handler.
    Read,
}

impl OperatorRights {
    /// Returns the rights of a user, where `self` are those of the socket's group. root and the user of the daemon have
    /// all rights. A client without a user has those of the group.
    pub fn of(self, user: Option<u32>, daemon: u32) -> OperatorRights {
        if OperatorRights::is_owner(user, daemon) { OperatorRights::All } else { self }
    }

    /// Reports whether a user is root or the user of the daemon.
    pub fn is_owner(user: Option<u32>, daemon: u32) -> bool {
        user.is_some_and(|user| user == 0 || user == daemon)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_that_may_read_takes_no_right_from_the_owner() {
        let of_group = |user| OperatorRights::Read.of(user, 77);

        assert_eq!([Some(0), Some(77)].map(of_group), [OperatorRights::All; 2]);
        assert_eq!([Some(78), Some(u32::MAX), None].map(of_group), [OperatorRights::Read; 3]);
        assert_eq!(OperatorRights::All.of(Some(78), 77), OperatorRights::All);
    }
}

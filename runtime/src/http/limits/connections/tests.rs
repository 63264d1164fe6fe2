//! Tests of the counts of connections.

use super::*;
use crate::http::wire::client_memory::MemoryAccount;

/// Takes a place for a connection that is idle, and that stays when it is asked to leave.
fn idle(limit: &Arc<ConnectionLimit>, party: Party) -> Option<PartyPermit> {
    let permit = limit.party_permit(&Peer::nobody(), party)?;
    let (ask, _asked) = oneshot::channel();
    let progress = Progress::new(MemoryAccount::unlimited());
    let mut members = limit.members();
    let number = members.next;
    members.next += 1;
    let member = OpenConnection { progress, ask: Some(ask) };
    members.parties.entry(party).or_default().connections.insert(number, member);
    drop(members);
    Some(permit)
}

#[test]
fn users_who_may_only_read_leave_connections_to_root() {
    let limit = ConnectionLimit::new(64, 40, usize::MAX);

    let busy: Vec<_> =
        (0..64).filter_map(|_| limit.party_permit(&Peer::nobody(), Party::OtherUsers)).collect();

    assert_eq!(busy.len(), 40);
    assert!(limit.party_permit(&Peer::nobody(), Party::Nobody).is_some());
}

#[test]
fn connections_that_stay_when_they_are_asked_to_leave_make_no_room_without_end() {
    for (party, max) in [(Party::Address([192, 0, 2, 1].into()), 80), (Party::OtherUsers, 48)] {
        let limit = ConnectionLimit::new(1000, 40, usize::MAX);

        let open: Vec<_> = (0..200).filter_map(|_| idle(&limit, party)).collect();

        assert_eq!(open.len(), max, "{party}");
    }
}

//! Tickets of people who have proved their first factor and are asked for the second. A ticket carries all it says, sealed;
//! kept here is only which were used, and how often one was tried with a wrong code. It never verifies a code.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::secrets::Vault;

/// How long a ticket is good for.
pub(super) const TICKET_TTL_SECONDS: u64 = 300;

/// How many wrong codes a ticket stands.
pub(super) const WRONG_CODES_MAX: u32 = 5;

/// How many tried tickets are remembered; those that end first go first. Each stands for one first factor that was proved.
const TRIED_TICKETS_MAX: usize = 10_000;

/// The longest ticket that is looked at, in bytes.
const TICKET_BYTES_MAX: usize = 2048;

/// What a ticket is sealed for.
const PURPOSE: &str = "second factor ticket";

/// What a ticket says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::accounts) struct Ticket {
    /// Its own id.
    id: Uuid,
    /// Whose it is.
    pub(super) user_id: String,
    /// The user's epoch at that time: a later one ends it.
    pub(super) epoch: i64,
    /// Tells whether the password is still the same.
    pub(super) password_mark: String,
    /// How the first factor was proved.
    pub(super) method: String,
    /// When it ends, in seconds since 1970.
    expires_at_seconds: u64,
}

impl Ticket {
    pub(super) fn new(
        user_id: &str,
        epoch: i64,
        password_mark: String,
        method: &str,
        now_seconds: u64,
    ) -> Ticket {
        Ticket {
            id: Uuid::new_v4(),
            user_id: user_id.to_owned(),
            epoch,
            password_mark,
            method: method.to_owned(),
            expires_at_seconds: now_seconds + TICKET_TTL_SECONDS,
        }
    }
}

#[derive(Debug, Default)]
struct Tried {
    tries: u32,
    used: bool,
    expires_at_seconds: u64,
}

/// Makes and reads tickets.
#[derive(Debug)]
pub(super) struct Tickets {
    vault: Arc<Vault>,
    tried: Mutex<HashMap<Uuid, Tried>>,
}

impl Tickets {
    pub(super) fn new(vault: Arc<Vault>) -> Tickets {
        Tickets { vault, tried: Mutex::default() }
    }

    /// The ticket as a client carries it.
    pub(super) fn seal(&self, ticket: &Ticket) -> String {
        let plain = serde_json::to_vec(ticket).expect("a ticket is JSON");
        self.vault.seal(PURPOSE, &plain)
    }

    /// A ticket that we made, is not over, was not used and stands one more try, which is counted. `None` otherwise.
    pub(super) fn take_try(&self, sealed: &str, now_seconds: u64) -> Option<Ticket> {
        if sealed.len() > TICKET_BYTES_MAX {
            return None;
        }
        let plain = self.vault.open(PURPOSE, sealed).ok()?;
        let ticket = serde_json::from_slice::<Ticket>(&plain).ok()?;
        if ticket.expires_at_seconds <= now_seconds {
            return None;
        }
        let mut tried = self.tried.lock();
        if tried.len() >= TRIED_TICKETS_MAX && !tried.contains_key(&ticket.id) {
            forget(&mut tried, now_seconds);
        }
        let entry = tried.entry(ticket.id).or_default();
        entry.expires_at_seconds = ticket.expires_at_seconds;
        if entry.used || entry.tries >= WRONG_CODES_MAX {
            return None;
        }
        entry.tries += 1;
        Some(ticket)
    }

    /// Uses a ticket up; false where another request was first.
    pub(super) fn use_up(&self, ticket: &Ticket) -> bool {
        let mut tried = self.tried.lock();
        let entry = tried.entry(ticket.id).or_default();
        entry.expires_at_seconds = ticket.expires_at_seconds;
        !std::mem::replace(&mut entry.used, true)
    }

    /// Gives a ticket back that was used up for a session that did not begin.
    pub(super) fn give_back(&self, ticket: &Ticket) {
        if let Some(entry) = self.tried.lock().get_mut(&ticket.id) {
            entry.used = false;
        }
    }
}

/// Makes room: what is over goes; if all are good, the half that ends first.
fn forget(tried: &mut HashMap<Uuid, Tried>, now_seconds: u64) {
    tried.retain(|_, entry| entry.expires_at_seconds > now_seconds);
    if tried.len() >= TRIED_TICKETS_MAX {
        let mut ends = tried.values().map(|entry| entry.expires_at_seconds).collect::<Vec<_>>();
        ends.sort_unstable();
        let middle = ends[ends.len() / 2];
        tried.retain(|_, entry| entry.expires_at_seconds > middle);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tickets() -> Tickets {
        let dir = tempfile::tempdir().unwrap();
        Tickets::new(Arc::new(Vault::load_or_create(dir.path()).unwrap()))
    }

    fn ticket(now_seconds: u64) -> Ticket {
        Ticket::new("u1", 7, "mark".into(), "password", now_seconds)
    }

    #[test]
    fn a_ticket_says_what_was_sealed_until_its_time_is_over() {
        let (tickets, ticket) = (tickets(), ticket(1000));
        let sealed = tickets.seal(&ticket);
        assert!(!sealed.contains("password"), "{sealed}");
        assert_eq!(tickets.take_try(&sealed, 1000 + TICKET_TTL_SECONDS - 1), Some(ticket));
        assert_eq!(tickets.take_try(&sealed, 1000 + TICKET_TTL_SECONDS), None);
        for forged in [String::new(), "v1.a.b".into(), sealed[..sealed.len() - 1].into(), "x".repeat(1 << 20)]
        {
            assert_eq!(tickets.take_try(&forged, 1000), None);
        }
        assert_eq!(self::tickets().take_try(&sealed, 1000), None, "another host took it");
    }

    #[test]
    fn it_stands_so_many_wrong_codes_and_one_use() {
        let tickets = tickets();
        let guessed = tickets.seal(&ticket(0));
        for _ in 0..WRONG_CODES_MAX {
            assert!(tickets.take_try(&guessed, 1).is_some());
        }
        assert_eq!(tickets.take_try(&guessed, 1), None);
        let used = tickets.seal(&ticket(0));
        let opened = tickets.take_try(&used, 1).unwrap();
        assert!(tickets.use_up(&opened) && !tickets.use_up(&opened));
        assert_eq!(tickets.take_try(&used, 1), None);
        tickets.give_back(&opened);
        assert!(tickets.take_try(&used, 1).is_some());
    }

    #[test]
    fn memory_is_bounded_and_the_newest_are_kept() {
        let tickets = tickets();
        let last = ticket(100);
        for seconds in 0..TRIED_TICKETS_MAX {
            let sealed = tickets.seal(&ticket((seconds / 100) as u64));
            assert!(tickets.take_try(&sealed, 1).is_some());
        }
        let sealed = tickets.seal(&last);
        let opened = tickets.take_try(&sealed, 1).unwrap();
        assert!(tickets.use_up(&opened));
        assert!(tickets.tried.lock().len() <= TRIED_TICKETS_MAX);
        assert_eq!(tickets.take_try(&sealed, 1), None);
        assert!(tickets.take_try(&tickets.seal(&ticket(500)), 400).is_some());
    }
}

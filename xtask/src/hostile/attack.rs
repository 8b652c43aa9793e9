//! The kinds of hostile requests. Each could have stopped a server like this one, or filled its memory.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::stock::REFERENCES;
use super::{ANSWER_WAIT_MAX, Target, slow};
use crate::raw_http::{Connection, Origin, encoded, get, with_json};

/// A list whose response has the maximum size.
const LARGE_LIST: &str = "/api/collections/large/records?limit=8&count=none";
/// How long a client waits before it reconnects.
const PAUSE: Duration = Duration::from_millis(20);
/// The operations of one hostile batch.
const OPERATIONS: usize = 1_000;

/// A kind of attack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Attack {
    /// 200 records with ten references each to one large record, expanded.
    Expand,
    /// A pattern of 12,000 letters against a text of a million, found by its key.
    LikeByKey,
    /// A pattern with many wildcards against each of many records.
    LikeScan,
    /// A thousand changes of one large record in one batch.
    Batch,
    /// A text of a million letters for a field with a costly pattern.
    Pattern,
    /// Lists of many records, sorted and filtered without an index.
    Scans,
    /// Groups over large texts.
    Aggregate,
    /// 40 streams of HTTP/2 with a window of 0.
    StalledStreams,
    /// HTTP/1 at 800 bytes a second.
    SlowReaders,
    /// Bodies of ten megabytes without their last byte.
    SlowBodies,
    /// Large bodies that are read completely and refused.
    LargeBodies,
    /// Large bodies with as many values as fit, which take many times their size in memory once parsed.
    WideBodies,
    /// Smaller bodies of the same kind, which are accepted.
    WideRecords,
}

impl Attack {
    /// All of them.
    pub(crate) const ALL: [Attack; 13] = [
        Attack::Expand,
        Attack::LikeByKey,
        Attack::LikeScan,
        Attack::Batch,
        Attack::Pattern,
        Attack::Scans,
        Attack::Aggregate,
        Attack::StalledStreams,
        Attack::SlowReaders,
        Attack::SlowBodies,
        Attack::LargeBodies,
        Attack::WideBodies,
        Attack::WideRecords,
    ];

    /// Returns its name in a table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Attack::Expand => "2,000 expansions of a 1 MB record",
            Attack::LikeByKey => "`like` of 12,000 letters on a 1 MB text, by key",
            Attack::LikeScan => "`like` with wildcards over many records",
            Attack::Batch => "1,000 changes of a 1 MB record in a batch",
            Attack::Pattern => "1 MB text for a costly `pattern`",
            Attack::Scans => "heavy filters and sorts",
            Attack::Aggregate => "groups over 1 MB texts",
            Attack::StalledStreams => "40 HTTP/2 streams with a window of 0",
            Attack::SlowReaders => "large answers read at 800 B/s",
            Attack::SlowBodies => "10 MB bodies without their end",
            Attack::LargeBodies => "10 MB bodies of nonsense",
            Attack::WideBodies => "10 MB bodies of single digits",
            Attack::WideRecords => "records of 1 MB of single digits",
        }
    }

    /// Returns the number of concurrent connections if it runs alone.
    pub(crate) fn connections(self) -> usize {
        match self {
            Attack::SlowReaders | Attack::SlowBodies => 60,
            Attack::WideRecords => 16,
            Attack::Scans | Attack::LikeScan => 8,
            _ => 4,
        }
    }

    /// Runs it from one address repeatedly until it is stopped.
    pub(crate) fn run(self, target: &Target<'_>, from: Ipv4Addr) {
        while !target.stopped() {
            if let Err(error) = self.once_connected(target, from) {
                target.outcomes.note(ended_by(&error));
                std::thread::sleep(PAUSE);
            }
        }
    }

    /// Runs it once over one connection.
    fn once_connected(self, target: &Target<'_>, from: Ipv4Addr) -> Result<()> {
        let slow = match self {
            Attack::StalledStreams => slow::stall_streams(target, from, LARGE_LIST),
            Attack::SlowReaders => slow::read_slowly(target, from, LARGE_LIST),
            Attack::SlowBodies => slow::write_slowly(target, from, "/api/collections/large/records"),
            _ => return self.ask_over_and_over(target, from),
        };
        target.outcomes.note("connections");
        slow
    }

    fn ask_over_and_over(self, target: &Target<'_>, from: Ipv4Addr) -> Result<()> {
        let request = self.request(target);
        let mut connection = Connection::open(Origin::new(from, ANSWER_WAIT_MAX), target.port)?;
        while !target.stopped() {
            let answer = connection.send(&request);
            target.outcomes.note_answer(&answer);
            answer?;
        }
        Ok(())
    }

    /// Returns the request that is sent each time.
    fn request(self, target: &Target<'_>) -> String {
        let stock = target.stock;
        match self {
            Attack::Expand => {
                let paths: Vec<_> = (0..REFERENCES).map(|at| format!("r{at}")).collect();
                get(&format!("/api/collections/referring/records?limit=200&expand={}", paths.join(",")))
            }
            Attack::LikeByKey => {
                let pattern = "a".repeat(12_000);
                let filter = format!("id = '{}' and s like '%{pattern}b'", stock.large);
                get(&format!("/api/collections/large/records?filter={}", encoded(&filter)))
            }
            Attack::LikeScan => {
                let filter = "body like '%q%u%i%c%k%f%o%x%z%' or title like '%_c_r_9_z%'";
                get(&format!("/api/collections/many/records?limit=30&filter={}", encoded(filter)))
            }
            Attack::Batch => {
                let change = |n| json!({ "op": "update", "collection": "large", "id": stock.large, "data": { "n": n } });
                let batch = json!({ "operations": (0..OPERATIONS).map(change).collect::<Vec<_>>() });
                with_json("POST", "/api/collections/batch", &batch.to_string())
            }
            Attack::Pattern => {
                let record = json!({ "data": { "s": stock.text } });
                with_json("POST", "/api/collections/matched/records", &record.to_string())
            }
            Attack::Scans => {
                let filter = encoded("price > 1 and body != 'x' and not (title = 'y')");
                get(&format!("/api/collections/many/records?limit=30&sort=-price,title&filter={filter}"))
            }
            Attack::Aggregate => get("/api/collections/large/aggregate?count=*&max=s&min=s&group_by=s"),
            Attack::LargeBodies => {
                let body = "[".repeat((10 << 20) - 1);
                with_json("POST", "/api/collections/large/records", &body)
            }
            Attack::WideBodies => with_json("POST", "/api/collections/batch", &digits(10 << 20)),
            Attack::WideRecords => with_json("POST", "/api/collections/large/records", &digits(1 << 20)),
            Attack::StalledStreams | Attack::SlowReaders | Attack::SlowBodies => get(LARGE_LIST),
        }
    }

    /// Checks that the attack reaches the server at all.
    ///
    /// # Errors
    /// When the server does not serve the attack's request.
    pub(crate) fn check(self, target: &Target<'_>) -> Result<()> {
        match self {
            Attack::StalledStreams => {
                slow::first_frame_of_an_answer(target.port, super::address(0), LARGE_LIST)
            }
            _ => Ok(()),
        }
    }
}

/// Returns a body of about this many bytes: a list of digits.
fn digits(bytes: usize) -> String {
    format!("{{\"data\":{{\"s\":[0{}]}}}}", ",0".repeat(bytes / 2 - 20))
}

/// Returns one or two words for an error, for counting.
fn ended_by(error: &anyhow::Error) -> &'static str {
    match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
        Some(std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => "no answer",
        Some(_) => "reset",
        None => "ended",
    }
}

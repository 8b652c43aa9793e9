//! Coalesces concurrent reads by key: once enough runs of a statement are in flight, further ones wait, and are then
//! sent to the server together as one statement. The server's fixed cost per statement is then paid once for many. It
//! decides which reads wait; it never talks to the server itself.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tinybase_postgres::{
    text::name_params,
    values::{Param, array_type},
};
use tokio::sync::oneshot;

use super::{Shared, run, statement::Prepared};
use crate::{db::DbError, metrics::stats::DATABASE};

/// How many runs of one statement are in flight before others wait: enough that the server is never idle, and few
/// enough that many reads wait together.
const UNDER_WAY_MAX: usize = 2;

/// The name of the parameters of the coalesced statement, outside of the original one.
const EACH: &str = "tb_each";

/// The runs of one statement, in flight and waiting.
#[derive(Debug)]
pub(super) struct Coalescer {
    /// The coalesced statement. It takes an array for each parameter, and returns each row after its index in the
    /// arrays.
    pub(super) sql: Arc<str>,
    queue: Mutex<Queue>,
}

#[derive(Debug, Default)]
struct Queue {
    under_way: usize,
    waiting: VecDeque<Waiting>,
}

/// A read that waits.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) params: Arc<[u8]>,
    answer: oneshot::Sender<Gathered>,
}

/// The result of a waiting read: packed rows, or `None` if it must run alone after all.
pub(super) type Gathered = Result<Option<Vec<u8>>, DbError>;

/// How a read proceeds.
pub(super) enum Admission {
    /// Immediately and alone; the permit is kept until the read ends.
    Go(Permit),
    /// After others, possibly together with more reads.
    Wait(oneshot::Receiver<Gathered>),
}

/// A run in flight. Dropping it starts the next waiting reads.
pub(super) struct Permit {
    shared: Arc<Shared>,
    prepared: Arc<Prepared>,
}

impl Coalescer {
    /// Returns the coalescer of a `SELECT` all of whose parameters can be arrays. There is none for a statement that
    /// contains the name [`EACH`] itself: within the statement it would not mean the parameters.
    pub(super) fn of(sql: &str, params: &[Param]) -> Option<Coalescer> {
        let types = params.iter().map(array_type).collect::<Option<Vec<_>>>()?;
        let is_select = sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("SELECT"));
        let has_name = sql.to_ascii_lowercase().contains(EACH);
        (is_select && !types.is_empty() && !has_name)
            .then(|| Coalescer { sql: for_many(sql, &types).into(), queue: Mutex::default() })
    }

    /// Returns the reads to send in place of a run that has ended: of those that wait, as many as may be sent together.
    /// If there are none, one run fewer is in flight.
    fn next(&self, together_max: usize) -> Vec<Waiting> {
        let mut queue = self.queue.lock();
        let mut together = Vec::with_capacity(queue.waiting.len().min(together_max));
        while together.len() < together_max
            && let Some(waiting) = queue.waiting.pop_front()
        {
            if !waiting.answer.is_closed() {
                together.push(waiting);
            }
        }
        if together.is_empty() {
            queue.under_way -= 1;
        }
        together
    }
}

/// Admits a read of `prepared`; `None` if the statement has no coalescer, or if reads must run alone.
pub(super) fn enter(shared: &Arc<Shared>, prepared: &Arc<Prepared>, params: &Arc<[u8]>) -> Option<Admission> {
    if shared.gathered_reads_max < 2 {
        return None;
    }
    let mut queue = prepared.gate.as_ref()?.queue.lock();
    if queue.under_way < UNDER_WAY_MAX {
        queue.under_way += 1;
        return Some(Admission::Go(Permit { shared: Arc::clone(shared), prepared: Arc::clone(prepared) }));
    }
    let (answer, later) = oneshot::channel();
    queue.waiting.push_back(Waiting { params: Arc::clone(params), answer });
    Some(Admission::Wait(later))
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(gate) = &self.prepared.gate else { return };
        let together = gate.next(self.shared.gathered_reads_max);
        if together.is_empty() {
            return;
        }
        let next = Permit { shared: Arc::clone(&self.shared), prepared: Arc::clone(&self.prepared) };
        self.shared.links.runtime().spawn(async move { next.run(together).await });
    }
}

impl Permit {
    /// Runs the waiting reads together. If there is no connection, all get the error. If they cannot run together, each
    /// is sent back to run alone: an error then goes to the read that caused it, and a statement that was prepared with
    /// another schema is prepared again.
    async fn run(self, together: Vec<Waiting>) {
        let shared = &self.shared;
        DATABASE.gathered.observe(together.len() as u64);
        let done =
            tokio::time::timeout(shared.query_timeout, run::together(shared, &self.prepared, &together));
        let mut answers = done.await.unwrap_or_else(|_| Ok(Vec::new())).map(Vec::into_iter);
        for waiting in together {
            let answer =
                answers.as_mut().map(|answers| answers.next().flatten()).map_err(|error| error.clone());
            // The receiver is gone if the read was abandoned.
            let _ = waiting.answer.send(answer);
        }
    }
}

/// Returns the coalesced statement. `OFFSET 0` keeps the server from merging the original with the arrays: it is
/// planned as for one, and its rows keep their order. The arrays are in subqueries, so that plans do not depend on
/// their length and the server can use a generic plan.
fn for_many(sql: &str, types: &[&str]) -> String {
    let arrays: Vec<_> =
        types.iter().enumerate().map(|(at, of)| format!("(SELECT ${}::{of})", at + 1)).collect();
    let names: Vec<_> = (1..=types.len()).map(|at| format!("v{at}")).collect();
    format!(
        "SELECT {EACH}.place, tb_one.* FROM unnest({}) WITH ORDINALITY AS {EACH}({}, place) \
         CROSS JOIN LATERAL (SELECT * FROM (\n{}\n) AS tb_of OFFSET 0) AS tb_one",
        arrays.join(", "),
        names.join(", "),
        name_params(sql, &format!("{EACH}.v")),
    )
}

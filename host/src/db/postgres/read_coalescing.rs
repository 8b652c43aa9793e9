//! Reads by key that meet: while as many runs of a statement are under way as may be, further ones wait, and then go to the
//! server together, as one statement. What the server does for a statement beside finding the row it then does once for
//! many. It decides who waits and who goes; it never talks to the server itself.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use tinybase_postgres::{
    text::name_params,
    values::{Param, array_type},
};
use tokio::sync::oneshot;

use super::{Shared, run, statement::Prepared};
use crate::{db::DbError, metrics::stats::DATABASE};

/// How many runs of one statement are under way at once before others wait: enough that the server is never idle, and few
/// enough that those who wait are many.
const UNDER_WAY_MAX: usize = 2;

/// What the parameters of many are called, outside of the statement.
const EACH: &str = "tb_each";

/// Runs of one statement, those under way and those that wait.
#[derive(Debug)]
pub(super) struct Coalescer {
    /// The statement for many: an array for each parameter, and each row behind the place of its parameters in them.
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

/// What comes of a read that waited: packed rows, or nothing where it is to go alone after all.
pub(super) type Gathered = Result<Option<Vec<u8>>, DbError>;

/// How a read goes on.
pub(super) enum Admission {
    /// At once and alone; the pass is held until it has ended.
    Go(Permit),
    /// Behind others, with whom it may go.
    Wait(oneshot::Receiver<Gathered>),
}

/// A run that is under way. Dropped, whoever waits goes next.
pub(super) struct Permit {
    shared: Arc<Shared>,
    prepared: Arc<Prepared>,
}

impl Coalescer {
    /// The gate of a statement without side effects, where each of its parameters may be an array. One that calls something
    /// [`EACH`] itself has none: within it the name would mean that, and not its parameters.
    pub(super) fn of(sql: &str, params: &[Param]) -> Option<Coalescer> {
        let types = params.iter().map(array_type).collect::<Option<Vec<_>>>()?;
        let is_select = sql.trim_start().get(..6).is_some_and(|word| word.eq_ignore_ascii_case("SELECT"));
        let has_name = sql.to_ascii_lowercase().contains(EACH);
        (is_select && !types.is_empty() && !has_name)
            .then(|| Coalescer { sql: for_many(sql, &types).into(), queue: Mutex::default() })
    }

    /// What goes next in place of a run that has ended: of those that wait, as many as may go together. With nobody left, one
    /// run fewer is under way.
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

/// The turn of a read through the gate of `prepared`; `None` where it has none, or where reads are to go alone.
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
    /// Runs what has waited. Without a connection, all get the reason. Where they cannot run together, each is sent back to go
    /// alone: then an error goes to whom it belongs, and a statement that was prepared under another schema is prepared
    /// again.
    async fn run(self, together: Vec<Waiting>) {
        let shared = &self.shared;
        DATABASE.gathered.observe(together.len() as u64);
        let done =
            tokio::time::timeout(shared.query_timeout, run::together(shared, &self.prepared, &together));
        let mut answers = done.await.unwrap_or_else(|_| Ok(Vec::new())).map(Vec::into_iter);
        for waiting in together {
            let answer =
                answers.as_mut().map(|answers| answers.next().flatten()).map_err(|error| error.clone());
            // Nobody waits for it where the read was given up.
            let _ = waiting.answer.send(answer);
        }
    }
}

/// The statement for many. `OFFSET 0` keeps the server from merging it with the arrays: so it is planned as for one, and its
/// rows stay in its order. The arrays stand behind a query of their own, so that plans do not depend on their length, and
/// the server comes to keep one.
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

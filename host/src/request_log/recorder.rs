//! Takes rows from requests without waiting, and writes the collected rows in batches, once a second. Rows that cannot
//! be queued or written are dropped and counted; no request ever fails or waits because of them.

use std::{sync::Arc, time::Duration};

use tinybase_abi::codec::BatchWriter;
use tokio::{
    sync::{Mutex, mpsc},
    task::AbortHandle,
    time::{Instant, MissedTickBehavior, interval, timeout},
};

use super::{
    Sampler,
    row::{Answered, Row, Unsent},
    sampling::Verdict,
};
use crate::{config, metrics::stats::REQUEST_LOG, sql::HostSql};

/// The interval between writes.
const WRITE_EVERY: Duration = Duration::from_secs(1);
/// The maximum number of rows in the queue; further ones are dropped.
const QUEUE_ROWS_MAX: usize = 8192;
/// The maximum number of rows in one batch, so that other writers hardly wait.
const BATCH_ROWS_MAX: usize = 200;
/// The maximum time for writing the last rows when the server ends, or when the log is read.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(5);

/// Records rows. Clones share one queue.
#[derive(Debug, Clone)]
pub struct Recorder {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    keep: Sampler,
    queue: mpsc::Sender<Row>,
    /// The receiver of the queue, locked by the writer.
    waiting: Mutex<mpsc::Receiver<Row>>,
    sql: HostSql,
}

/// The job that writes. Dropping this stops it.
pub struct Writing(AbortHandle);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Recorder {
    /// Creates a recorder for this database; `None` if the configuration disables the log.
    pub fn new(sql: HostSql, config: &config::RequestLog) -> Option<Recorder> {
        config.enabled.then(|| Recorder::with_queue(sql, Sampler::new(config), QUEUE_ROWS_MAX))
    }

    fn with_queue(sql: HostSql, keep: Sampler, rows_max: usize) -> Recorder {
        let (queue, waiting) = mpsc::channel(rows_max);
        Recorder { shared: Arc::new(Shared { keep, queue, waiting: Mutex::new(waiting), sql }) }
    }

    /// Starts the job. Must be called within the runtime.
    pub fn start(&self) -> Writing {
        let recorder = self.clone();
        let job = tokio::spawn(async move {
            let mut ticks = interval(WRITE_EVERY);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                recorder.write().await;
            }
        });
        Writing(job.abort_handle())
    }

    /// Creates a row for a request that began at `started` and has a response, if the sampler keeps it.
    pub fn note(&self, started: std::time::Instant, answered: &Answered<'_>) -> Option<Unsent> {
        match self.shared.keep.verdict(answered.method, answered.status, started, answered.time) {
            Verdict::Kept => Some(Unsent::new(Row::of(answered), self.clone())),
            Verdict::Passed => None,
            Verdict::Dropped => {
                REQUEST_LOG.dropped.add_one();
                None
            }
        }
    }

    pub(super) fn add(&self, row: Row) {
        if self.shared.queue.try_send(row).is_err() {
            REQUEST_LOG.dropped.add_one();
        }
    }

    /// Writes the rows that are queued now, within a deadline.
    pub async fn flush(&self) {
        let begun = Instant::now();
        if timeout(FLUSH_TIME_MAX, self.write()).await.is_err() {
            tracing::warn!(after = ?begun.elapsed(), "rows of the request log wait too long to be written");
        }
    }

    /// Writes as many rows as are queued now; rows added meanwhile are left for the next write.
    async fn write(&self) {
        let mut waiting = self.shared.waiting.lock().await;
        let mut left = waiting.len();
        while left > 0 {
            let mut batch = BatchWriter::default();
            while left > 0
                && batch.len() < BATCH_ROWS_MAX
                && let Ok(row) = waiting.try_recv()
            {
                row.push(&mut batch);
                left -= 1;
            }
            let rows = batch.len() as u64;
            match self.shared.sql.apply(batch).await {
                Ok(_) => REQUEST_LOG.rows.add(rows),
                Err(error) => {
                    REQUEST_LOG.dropped.add(rows);
                    tracing::warn!(rows, %error, "rows of the request log could not be written");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use http::{Method, StatusCode, Uri};

    use super::*;
    use crate::{
        db::{
            Database,
            migrations::Migrator,
            sqlite::{Sqlite, SqliteOptions},
        },
        http::RequestId,
        sql::integer,
    };

    /// Records a request whose response is sent at once.
    fn answer(recorder: &Recorder, status: StatusCode) {
        let answered = Answered {
            method: &Method::GET,
            uri: &Uri::from_static("/x"),
            route: None,
            status,
            time: Duration::ZERO,
            caller: None,
            client: std::net::Ipv6Addr::LOCALHOST.into(),
            request_id: &RequestId::generate(),
        };
        drop(recorder.note(std::time::Instant::now(), &answered));
    }

    #[tokio::test]
    async fn what_finds_no_room_is_dropped_and_counted() {
        let dir = tempfile::tempdir().unwrap();
        let db = Sqlite::open(&SqliteOptions::new(dir.path().join("t.db"))).unwrap();
        Migrator::of_host(&*db).upgrade(None).await.unwrap();
        let sql = HostSql::new(Arc::clone(&db) as Arc<dyn Database>);
        let config = config::RequestLog {
            rows_per_second_max: 1000,
            reads_per_second_max: 0,
            ..config::RequestLog::default()
        };
        let recorder = Recorder::with_queue(sql.clone(), Sampler::new(&config), 3);
        let counted = || (REQUEST_LOG.rows.get(), REQUEST_LOG.dropped.get());
        assert_eq!(counted(), (0, 0));
        for _ in 0..5 {
            answer(&recorder, StatusCode::NOT_FOUND);
            answer(&recorder, StatusCode::OK);
        }
        assert_eq!(counted(), (0, 2), "the queue has room for three, and reads are no loss");
        recorder.flush().await;
        assert_eq!(counted(), (3, 2));
        let rows = sql.rows("SELECT count(*) FROM tb_request_log", &[]).await.unwrap();
        assert_eq!(integer(&rows[0], 0), 3);
        answer(&recorder, StatusCode::BAD_GATEWAY);
        db.shut_down().await;
        recorder.flush().await;
        assert_eq!(counted(), (3, 3), "the database is gone");
        assert!(Recorder::new(sql, &config::RequestLog { enabled: false, ..config }).is_none());
    }
}

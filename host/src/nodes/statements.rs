//! The SQL of nodes, for each engine. Times are those of the database's clock, so that nodes need not have synchronized
//! clocks; on SQLite that is the clock of the process itself. It never runs a statement.

use crate::db::Engine;

/// The statements of one engine.
#[derive(Debug)]
pub(super) struct Statements {
    /// Writes a heartbeat: id, name, address, version, and start time, null for now; returns the start time.
    pub(super) say: String,
    /// Lists the nodes that were seen within this many milliseconds.
    pub(super) list: String,
    /// Counts the listed nodes, and those of them that were not seen within this many milliseconds.
    pub(super) count: String,
    /// Deletes the nodes that were not seen within this many milliseconds.
    pub(super) forget_stopped: String,
    /// Deletes all nodes but one.
    pub(super) forget_others: String,
    /// Deletes one node.
    pub(super) leave: String,
}

impl Statements {
    pub(super) fn of(engine: Engine) -> Statements {
        let (now, ago) = times(engine);
        // On SQLite the queried node is the only one, and is alive now.
        let seen_at = if engine == Engine::Sqlite { now } else { "seen_at" };
        Statements {
            say: format!(
                "INSERT INTO tb_nodes (id, name, address, version, started_at, seen_at) \
                 VALUES (?1, ?2, ?3, ?4, COALESCE(?5, {now}), {now}) \
                 ON CONFLICT (id) DO UPDATE SET seen_at = {now} RETURNING started_at"
            ),
            list: format!(
                "SELECT id, name, address, version, started_at, {seen_at} FROM tb_nodes \
                 WHERE {seen_at} >= {ago} ORDER BY started_at, id"
            ),
            count: format!(
                "SELECT count(*), COALESCE(sum(CASE WHEN {seen_at} < {ago} THEN 1 ELSE 0 END), 0) FROM tb_nodes"
            ),
            forget_stopped: format!("DELETE FROM tb_nodes WHERE seen_at < {ago}"),
            forget_others: "DELETE FROM tb_nodes WHERE id <> ?1".into(),
            leave: "DELETE FROM tb_nodes WHERE id = ?1".into(),
        }
    }
}

/// Returns the SQL of the current time, and of `?1` milliseconds ago, in their stored form.
fn times(engine: Engine) -> (&'static str, &'static str) {
    match engine {
        Engine::Sqlite => (
            "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now')",
            "strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', (-?1 / 1000.0) || ' seconds')",
        ),
        Engine::Postgres => (
            r#"to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#,
            r#"to_char((clock_timestamp() - CAST(?1 AS BIGINT) * INTERVAL '1 millisecond') AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')"#,
        ),
    }
}

//! The nodes' shared buckets as rows of PostgreSQL. One statement takes tokens, so that no two nodes ever get the same
//! one. It never decides how many to take.
//!
//! A bucket is stored as one moment, as in the in-memory buckets: when it will be full again, by the database's clock.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{
    buckets::MINUTE,
    leases::{Granted, Key, token},
    shared::SharedBuckets,
};
use crate::{
    db::DbError,
    sql::{HostSql, integer},
};

/// Nanoseconds since 1970, constant within a statement.
macro_rules! now {
    () => {
        "CAST(extract(epoch FROM statement_timestamp()) * 1000000 AS BIGINT) * 1000"
    };
}

/// Takes tokens: `?1` is the key, `?2` the requested number, `?3` the time of one token, `?4` the time in which a
/// bucket fills. After waiting for a concurrent change, a statement's clock is slightly behind the row it finds. If a
/// row is much further ahead, the database's clock was set back: the row then counts as an empty bucket, not as one
/// that takes hours to fill.
const TAKE: &str = concat!(
    "INSERT INTO tb_rate_buckets AS bucket (key, full_at, granted) VALUES ( \
     ?1, ",
    now!(),
    " + LEAST(CAST(?2 AS BIGINT), CAST(?4 AS BIGINT) / CAST(?3 AS BIGINT)) * CAST(?3 AS BIGINT), \
     LEAST(CAST(?2 AS BIGINT), CAST(?4 AS BIGINT) / CAST(?3 AS BIGINT))) \
     ON CONFLICT (key) DO UPDATE SET (full_at, granted) = ( \
     SELECT held.full_at + given.tokens * CAST(?3 AS BIGINT), given.tokens \
     FROM (SELECT LEAST(GREATEST(bucket.full_at, ",
    now!(),
    "), ",
    now!(),
    " + CAST(?4 AS BIGINT) + 5000000000) AS full_at) AS held \
     CROSS JOIN LATERAL (SELECT GREATEST(0, LEAST(CAST(?2 AS BIGINT), \
     (",
    now!(),
    " + CAST(?4 AS BIGINT) - held.full_at) / CAST(?3 AS BIGINT))) AS tokens) AS given) \
     RETURNING granted, full_at - ",
    now!()
);

/// Deletes full buckets in small batches, without waiting for rows that are in use.
const SWEEP: &str = concat!(
    "DELETE FROM tb_rate_buckets WHERE key IN (SELECT key FROM tb_rate_buckets WHERE full_at <= ",
    now!(),
    " LIMIT ?1 FOR UPDATE SKIP LOCKED)"
);

/// The maximum number of rows in one batch.
const DELETED_AT_ONCE_MAX: u64 = 1000;

/// The table of buckets.
#[derive(Debug)]
pub(super) struct BucketRows(HostSql);

impl BucketRows {
    pub(super) fn new(sql: HostSql) -> BucketRows {
        BucketRows(sql)
    }

    /// Deletes the full buckets. Returns how many.
    pub(super) async fn sweep(&self) -> Result<u64, DbError> {
        let mut all = 0;
        loop {
            let mut batch = BatchWriter::default();
            batch.push(SWEEP, [ValueRef::Integer(DELETED_AT_ONCE_MAX.cast_signed())], Expect::Any);
            let deleted = self.0.apply(batch).await?.affected.iter().sum::<u64>();
            all += deleted;
            if deleted < DELETED_AT_ONCE_MAX {
                return Ok(all);
            }
        }
    }
}

impl SharedBuckets for BucketRows {
    fn take(&self, key: Key, per_minute: u32, wanted: u32) -> BoxFuture<'_, Result<Granted, DbError>> {
        let nanoseconds = |time: Duration| i64::try_from(time.as_nanos()).unwrap_or(i64::MAX);
        let mut batch = BatchWriter::default();
        let params = [
            ValueRef::Blob(&key),
            ValueRef::Integer(wanted.into()),
            ValueRef::Integer(nanoseconds(token(per_minute))),
            ValueRef::Integer(nanoseconds(MINUTE)),
        ];
        batch.push(TAKE, params, Expect::Any);
        Box::pin(async move {
            let applied = self.0.apply(batch).await?;
            let row = applied.rows.first().and_then(|rows| rows.first());
            let row = row.ok_or_else(|| DbError::Sql("a bucket that was asked did not answer".into()))?;
            Ok(Granted {
                tokens: integer(row, 0).try_into().unwrap_or(0),
                full_after: Duration::from_nanos(integer(row, 1).try_into().unwrap_or(0)),
            })
        })
    }
}

//! Advances the target's sequences for new rows past the highest number that the source ever assigned.

use std::collections::BTreeMap;

use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::{
    side::{Side, quoted},
    tables,
};
use crate::{
    db::{DbError, Engine},
    sql::{integer, text},
};

/// Returns table, column, sequence, and the last assigned number.
const POSTGRES: &str = "SELECT c.relname, a.attname, s.relname, pg_sequence_last_value(s.oid) FROM pg_class s \
     JOIN pg_depend d ON d.objid = s.oid AND d.classid = 'pg_class'::regclass \
     AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('i', 'a') \
     JOIN pg_class c ON c.oid = d.refobjid JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid \
     JOIN pg_namespace n ON n.oid = c.relnamespace WHERE s.relkind = 'S' AND n.nspname = current_schema()";

const SQLITE: &str = "SELECT name, seq FROM sqlite_sequence";

/// Returns the highest number that was ever assigned in each table of the source, if it records one.
///
/// # Errors
/// Those of its query.
pub async fn given(source: &Side) -> Result<BTreeMap<String, i64>, DbError> {
    match source.engine() {
        Engine::Sqlite => {
            if source
                .rows("SELECT 1 FROM sqlite_schema WHERE name = 'sqlite_sequence'", &[])
                .await?
                .is_empty()
            {
                return Ok(BTreeMap::new());
            }
            let rows = source.rows(SQLITE, &[]).await?;
            Ok(rows.iter().map(|row| (text(row, 0), integer(row, 1))).collect())
        }
        Engine::Postgres => {
            let rows = source.rows(POSTGRES, &[]).await?;
            Ok(rows.iter().map(|row| (text(row, 0), integer(row, 3))).collect())
        }
    }
}

/// Adds statements to a batch that advance the target's sequences past `given`, and past the existing rows.
///
/// # Errors
/// Those of its queries.
pub async fn push_continued(
    batch: &mut BatchWriter,
    target: &Side,
    given: &BTreeMap<String, i64>,
) -> Result<(), DbError> {
    match target.engine() {
        Engine::Sqlite => {
            let counted =
                "SELECT name FROM sqlite_schema WHERE type = 'table' AND upper(sql) LIKE '%AUTOINCREMENT%'";
            for row in target.rows(counted, &[]).await? {
                let name = text(&row, 0);
                let Some(given) = given.get(&name) else { continue };
                let params = [ValueRef::Text(&name), ValueRef::Integer(*given)];
                batch.push(
                    "UPDATE sqlite_sequence SET seq = max(seq, ?2) WHERE name = ?1",
                    params,
                    Expect::Any,
                );
                let insert = "INSERT INTO sqlite_sequence (name, seq) SELECT ?1, ?2 \
                              WHERE NOT EXISTS (SELECT 1 FROM sqlite_sequence WHERE name = ?1)";
                batch.push(insert, params, Expect::Any);
            }
        }
        Engine::Postgres => {
            let known = tables::list(target).await?;
            for row in target.rows(POSTGRES, &[]).await? {
                let (table, column, sequence) = (text(&row, 0), text(&row, 1), text(&row, 2));
                if !known.contains_key(&table) {
                    continue;
                }
                let highest = format!("SELECT coalesce(max({}), 0) FROM {}", quoted(&column), quoted(&table));
                let highest = target.number(&highest).await?.max(given.get(&table).copied().unwrap_or(0));
                if highest > 0 {
                    let params = [ValueRef::Text(&quoted(&sequence)).to_owned(), highest.into()];
                    let set = "SELECT setval(?1::text::regclass, ?2::bigint)";
                    batch.push(set, params.iter().map(|value| value.as_ref()), Expect::Any);
                }
            }
        }
    }
    Ok(())
}

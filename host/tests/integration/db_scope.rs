//! Tests what an extension's statements may touch, as a table of statements.

use crate::support::db::{FreshSqlite, apply, apply_as, query_as};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::db::{DbError, ReadHint, SqlOwner, migrations::Migrator};
use tinybase_test_postgres::sqlite_only;

const NONE: [Value; 0] = [];

/// Tables of the extensions `a` and `b`, as their migrations would create them.
const TABLES: &str = "
    CREATE TABLE a_items (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT REFERENCES tb_users (id), t TEXT UNIQUE);
    CREATE TABLE a_more (x TEXT, y AS (json_extract(x, '$.y')) VIRTUAL);
    CREATE TABLE b_items (id INTEGER PRIMARY KEY AUTOINCREMENT, t TEXT);
    CREATE VIRTUAL TABLE a_full USING fts5 (t, body, tokenize = porter);
    INSERT INTO a_full (t, body) VALUES ('foxes', 'quick and brown');
    CREATE VIRTUAL TABLE a_outer USING fts5 (password_hash, content = 'tb_users');
    CREATE VIRTUAL TABLE b_full USING fts5 (body);
    INSERT INTO b_full (body) VALUES ('secret');
    INSERT INTO tb_users (id, email, password_hash, created_at, updated_at) VALUES ('u', 'u@x.y', '-', '-', '-');";

async fn tables() -> (FreshSqlite, SqlOwner) {
    let fresh = FreshSqlite::open();
    Migrator::of_host(&*fresh.db).upgrade(None).await.unwrap();
    apply(&fresh.db, &[(TABLES, &NONE, Expect::Any)]).await.unwrap();
    (fresh, SqlOwner::Extension("a".into()))
}

/// Each runs after those above it.
const ALLOWED: &[&str] = &[
    "INSERT INTO a_items (owner, t) VALUES ('u', 'x')",
    "INSERT INTO A_ITEMS (t) VALUES ('y') ON CONFLICT (t) DO UPDATE SET t = excluded.t RETURNING id",
    "UPDATE a_items SET t = upper(t) WHERE id IN (SELECT id FROM a_items)",
    "DELETE FROM a_items WHERE id = 99",
    "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9) INSERT INTO a_more (x) SELECT i FROM n",
    "CREATE TABLE a_new (id INTEGER PRIMARY KEY AUTOINCREMENT, c TEXT, i INTEGER REFERENCES a_items (id) ON DELETE CASCADE)",
    "CREATE TABLE a_copy AS SELECT * FROM a_items",
    "CREATE INDEX a_new_c ON a_new (c)",
    "CREATE UNIQUE INDEX a_new_lower ON a_new (lower(c)) WHERE c IS NOT NULL",
    "CREATE TRIGGER a_new_added AFTER INSERT ON a_new BEGIN UPDATE a_items SET t = t || '!'; END",
    "INSERT INTO a_new (c) VALUES ('c')",
    "CREATE VIEW a_view AS SELECT c FROM a_new",
    "ALTER TABLE a_new ADD COLUMN d TEXT NOT NULL DEFAULT '' CHECK (length(d) < 9)",
    "ALTER TABLE a_new ADD COLUMN e AS (json_extract(c, '$.e')) VIRTUAL",
    "ALTER TABLE a_new RENAME COLUMN d TO f",
    "ALTER TABLE a_new DROP COLUMN f",
    "ALTER TABLE a_new RENAME TO a_newer",
    "REINDEX a_newer",
    "DROP VIEW a_view",
    "DROP TRIGGER a_new_added",
    "DROP INDEX a_new_c",
    "DROP TABLE a_newer",
    "CREATE VIRTUAL TABLE a_words USING fts5 (body)",
    "INSERT INTO a_words (body) VALUES ('quick brown fox')",
    "INSERT OR REPLACE INTO a_words (rowid, body) SELECT 7, 'lazy dog'",
    "UPDATE a_words SET body = 'lazy dogs' WHERE rowid = 7",
    "DELETE FROM a_words WHERE rowid IN (SELECT 1)",
    "INSERT INTO a_words (a_words) VALUES ('optimize')",
    "INSERT INTO a_words (a_words) VALUES ('integrity-check')",
    "DROP TABLE a_words",
    "CREATE VIRTUAL TABLE a_words USING fts5 (t, body, tokenize = \"porter unicode61 remove_diacritics 2\", prefix = '2 3')",
    "INSERT INTO a_words (rowid, t, body) VALUES (3, 'Foxes', 'quick and brown')",
    "PRAGMA defer_foreign_keys = ON",
    "SELECT 1",
];

const DENIED: &[&str] = &[
    "INSERT INTO b_items (t) VALUES ('x')",
    "INSERT INTO a_items (t) SELECT t FROM b_items",
    "INSERT INTO a_items (t) SELECT email FROM tb_users",
    "UPDATE tb_users SET role = 'admin'",
    "UPDATE a_items SET t = (SELECT password_hash FROM tb_users)",
    "DELETE FROM tb_settings",
    "DELETE FROM b_items WHERE id IN (SELECT id FROM a_items)",
    "CREATE TABLE b_new (x)",
    "CREATE TABLE anew (x)",
    "CREATE TABLE \"a\" (x)",
    "CREATE TEMP TABLE a_temp (x)",
    "CREATE INDEX b_index ON a_items (t)",
    "CREATE INDEX a_index ON b_items (t)",
    "CREATE TRIGGER a_trigger AFTER INSERT ON b_items BEGIN SELECT 1; END",
    "CREATE TRIGGER b_trigger AFTER INSERT ON a_items BEGIN SELECT 1; END",
    "CREATE VIEW b_view AS SELECT 1",
    "CREATE TEMP VIEW a_temp AS SELECT 1",
    "CREATE VIRTUAL TABLE b_words USING fts5 (body)",
    "CREATE VIRTUAL TABLE a_rows USING dbstat",
    "CREATE VIRTUAL TABLE a_terms USING fts5vocab ('b_words', 'row')",
    "CREATE VIRTUAL TABLE a_tree USING rtree (id, x, y)",
    "CREATE VIRTUAL TABLE a_old USING fts4 (body)",
    "CREATE VIRTUAL TABLE temp.a_words2 USING fts5 (body)",
    "DROP TABLE b_full",
    "INSERT INTO b_full (body) VALUES ('x')",
    "DELETE FROM b_full_data",
    "INSERT INTO a_outer (a_outer) VALUES ('rebuild')",
    "ALTER TABLE b_items ADD COLUMN x",
    "ALTER TABLE a_items RENAME TO tb_evil",
    "ALTER TABLE a_items RENAME TO b_evil",
    "CREATE TABLE a_1 (x); ALTER TABLE a_1 RENAME TO c_1;",
    "DROP TABLE b_items",
    "DROP TABLE tb_users",
    "ANALYZE a_items",
    "ANALYZE",
    "DELETE FROM sqlite_sequence",
    "UPDATE sqlite_sequence SET seq = 0",
    "ATTACH 'other.db' AS other",
    "DETACH main",
    "BEGIN",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT x",
    "RELEASE job",
    "ROLLBACK TO job",
    "COMMIT; DROP TABLE tb_users; BEGIN",
    "PRAGMA writable_schema = ON",
    "PRAGMA journal_mode = DELETE",
    "PRAGMA foreign_keys = OFF",
    "PRAGMA synchronous = OFF",
    "PRAGMA user_version = 9",
    "PRAGMA wal_checkpoint(TRUNCATE)",
    "PRAGMA table_info(tb_users)",
    "SELECT load_extension('x')",
];

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_has_its_own_tables() {
    if sqlite_only("SQLite's authorizer") {
        return;
    }
    let (fresh, scope) = tables().await;
    for sql in ALLOWED {
        if let Err(error) = apply_as(&fresh.db, &scope, &[(sql, &NONE, Expect::Any)]).await {
            panic!("{sql}: {error} ({error:?})");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_has_nothing_else() {
    if sqlite_only("SQLite's authorizer") {
        return;
    }
    let (fresh, scope) = tables().await;
    let schema = || {
        query_as(
            &fresh.db,
            &SqlOwner::Host,
            ReadHint::Indexed,
            "SELECT name, sql FROM sqlite_master",
            &NONE,
            None,
        )
    };
    let before = schema().await.unwrap();
    for sql in DENIED {
        for batch in [
            [(*sql, NONE.as_slice(), Expect::Any)].as_slice(),
            &[("INSERT INTO a_more (x) VALUES (1)", &NONE, Expect::Any), (sql, &NONE, Expect::Any)],
        ] {
            let answer = apply_as(&fresh.db, &scope, batch).await;
            // SQLite itself refuses writes to the shadow tables of a virtual one.
            let is_refused = match &answer {
                Err(DbError::Denied { .. }) => true,
                Err(DbError::Sql(problem)) => problem.contains("may not be modified"),
                _ => false,
            };
            assert!(is_refused, "{sql}: {answer:?}");
        }
    }
    assert_eq!(schema().await.unwrap(), before);
    let left = "SELECT (SELECT count(*) FROM a_more), (SELECT count(*) FROM tb_users WHERE role = 'user')";
    let rows = query_as(&fresh.db, &SqlOwner::Host, ReadHint::Indexed, left, &NONE, None).await.unwrap();
    assert_eq!(rows, [[0.into(), 1.into()]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_reads_its_own_tables() {
    if sqlite_only("SQLite's authorizer") {
        return;
    }
    let (fresh, scope) = tables().await;
    for cost in [ReadHint::Indexed, ReadHint::Scan] {
        for sql in [
            "SELECT id, t FROM a_items ORDER BY t",
            "SELECT a_items.id FROM a_items JOIN json_each('[1,2]') ON value = a_items.id",
            "SELECT name FROM pragma_table_info('a_items')",
            "PRAGMA index_list(a_items)",
            "EXPLAIN QUERY PLAN SELECT * FROM a_items WHERE t = 'x'",
            "SELECT id FROM tb_users",
            "SELECT rowid, bm25(a_full, 2.0, 1.0), snippet(a_full, -1, '[', ']', '…', 8), highlight(a_full, 0, '[', ']') FROM \
             a_full WHERE a_full MATCH '\"fox\" AND (qui* NOT \"red\")' ORDER BY bm25(a_full, 2.0, 1.0) LIMIT 3",
            "SELECT i.id FROM a_full JOIN a_items i ON i.id = a_full.rowid WHERE a_full MATCH 'fox' ORDER BY rank",
        ] {
            query_as(&fresh.db, &scope, cost, sql, &NONE, None)
                .await
                .unwrap_or_else(|error| panic!("{sql}: {error}"));
        }
        for sql in [
            "SELECT email FROM tb_users",
            "SELECT * FROM tb_users",
            "SELECT count(*) FROM tb_settings",
            "SELECT * FROM b_items",
            "SELECT a_items.t FROM a_items, b_items",
            "SELECT name FROM pragma_table_info('tb_users')",
            "SELECT * FROM dbstat",
            "SELECT rowid FROM b_full WHERE b_full MATCH 'secret'",
            "SELECT * FROM b_full_content",
            "PRAGMA integrity_check",
        ] {
            // The host may; a statement prepared for it must not be run for the extension.
            query_as(&fresh.db, &SqlOwner::Host, cost, sql, &NONE, None).await.unwrap();
            let answer = query_as(&fresh.db, &scope, cost, sql, &NONE, None).await;
            assert!(matches!(answer, Err(DbError::Denied { .. })), "{sql}: {answer:?}");
            query_as(&fresh.db, &SqlOwner::Host, cost, sql, &NONE, None).await.unwrap();
        }
        let other = SqlOwner::Extension("b".into());
        let sql = "SELECT id FROM a_items";
        query_as(&fresh.db, &scope, cost, sql, &NONE, None).await.unwrap();
        let answer = query_as(&fresh.db, &other, cost, sql, &NONE, None).await;
        assert!(
            matches!(&answer, Err(DbError::Denied { scope, table }) if scope == "b" && table == "a_items")
        );
    }
}

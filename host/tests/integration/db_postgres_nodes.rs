//! Tests the PostgreSQL engine with several nodes: changes by other nodes, lost connections, and unusable servers. Each
//! test has its own database.

use std::time::Duration;

use crate::support::db::Statement;
use crate::support::postgres::{FreshPostgres, run_on, wait_until};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::db::{
    Database, DbError, Query, ReadHint, SqlOwner,
    migrations::Migrator,
    postgres::{Postgres, PostgresOptions},
};

const NONE: [Value; 0] = [];

#[tokio::test(flavor = "multi_thread")]
async fn what_another_node_changed_is_noticed_also_when_its_notification_is_lost() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh
        .script("CREATE TABLE tb_changes (version BIGINT NOT NULL); INSERT INTO tb_changes VALUES (1)")
        .await;
    wait_until("the first version", async || fresh.db.external_change_count() == 1).await;
    let other = Postgres::open(&fresh.options).await.unwrap();
    assert_eq!(other.external_change_count(), 1);
    fresh.script("UPDATE tb_changes SET version = 2; NOTIFY tb_changes").await;
    wait_until("a notification", async || other.external_change_count() == 2).await;
    fresh.script("UPDATE tb_changes SET version = 3").await;
    wait_until("a look without one", async || other.external_change_count() == 3).await;
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nodes_keep_in_memory_is_counted_once_a_transaction_and_nothing_else_is() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    Migrator::of_host(&*fresh.db).upgrade(None).await.unwrap();
    // In this order; each with the expected growth of the number.
    for (script, counts) in [
        (
            "INSERT INTO tb_users (id, email, password_hash, created_at, updated_at) VALUES ('u', 'u@b', 'h', '', '')",
            0,
        ),
        (
            "INSERT INTO tb_sessions SELECT i::text, 'u', 'password', NULL, NULL, '', '', '' FROM generate_series(1, 9) i",
            0,
        ),
        (
            "INSERT INTO tb_application_tokens (id, token_hash, user_id, name, scopes, created_at) VALUES ('t', '1', 'u', 'n', '', '')",
            0,
        ),
        ("UPDATE tb_users SET last_login_at = 'x', role = role", 0),
        ("UPDATE tb_sessions SET last_used_at = 'x', expires_at = 'x'", 0),
        ("UPDATE tb_application_tokens SET last_used_at = 'x'", 0),
        ("DELETE FROM tb_sessions WHERE id = 'nobody'", 0),
        ("UPDATE tb_users SET email = 'v@b'", 1),
        ("UPDATE tb_users SET password_hash = 'i'", 1),
        ("UPDATE tb_users SET role = 'viewer'", 1),
        ("UPDATE tb_users SET is_active = 0", 1),
        ("UPDATE tb_users SET token_epoch = token_epoch + 1", 1),
        ("DELETE FROM tb_sessions WHERE id <> '1'", 1),
        ("UPDATE tb_application_tokens SET scopes = 'x'", 1),
        (
            "INSERT INTO tb_settings VALUES ('a', '1', ''); UPDATE tb_settings SET value = '2'; DELETE FROM tb_settings",
            1,
        ),
        (
            "INSERT INTO tb_extensions (name, version, hash, manifest, installed_at, updated_at) VALUES ('n', '1', '', '{}', '', '')",
            1,
        ),
        ("DELETE FROM tb_application_tokens; DELETE FROM tb_extensions", 1),
        ("DELETE FROM tb_users", 1),
    ] {
        let version =
            async || fresh.rows("SELECT version FROM tb_changes", &[]).await.unwrap().remove(0).remove(0);
        let Value::Integer(before) = version().await else { panic!("no number") };
        fresh.script(script).await;
        assert_eq!(version().await, (before + counts).into(), "{script}");
    }
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_were_ended_are_replaced() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    fresh.script("CREATE TABLE t (a BIGINT)").await;
    let reads = (0..8).map(|_| {
        tokio::spawn(fresh.db.query(Query {
            scope: &SqlOwner::Host,
            sql: "SELECT pg_sleep(0.02)",
            params: &[0; 4],
            hint: ReadHint::Scan,
            deadline: None,
        }))
    });
    for read in reads.collect::<Vec<_>>() {
        read.await.unwrap().unwrap();
    }
    run_on(
        &fresh.server,
        &format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}'", fresh.name),
    )
    .await;
    // A call may fail once because its connection was lost; the next one gets a working one.
    let holds = |result: Result<(), DbError>| match result {
        Ok(()) => true,
        Err(DbError::Unavailable(_)) => false,
        Err(other) => panic!("{other:?}"),
    };
    let insert: Statement<'_> = ("INSERT INTO t VALUES (1)", &NONE, Expect::Any);
    wait_until("a read", async || holds(fresh.rows("SELECT count(*) FROM t", &NONE).await.map(drop))).await;
    wait_until("a write", async || holds(fresh.run(&[insert]).await.map(drop))).await;
    let version = fresh.db.external_change_count();
    wait_until("the end of doubt", async || fresh.db.external_change_count() == 0).await;
    assert!(version == 0 || version >= 1 << 63, "{version}");
    fresh.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_will_not_do_is_refused_with_what_to_do() {
    let Some(fresh) = FreshPostgres::open().await else { return };
    let refused = |url: String| async move {
        let mut options = PostgresOptions::new(url);
        options.connect_timeout = Duration::from_secs(2);
        Postgres::open(&options).await.err().expect("no such server").to_string()
    };
    let base = fresh.server.rsplit_once('/').unwrap().0;
    let missing = refused(format!("{base}/no_such_database")).await;
    assert!(missing.contains("no_such_database"), "{missing}");
    let nobody = refused("postgres://u:hush@127.0.0.1:1/x".to_owned()).await;
    assert!(nobody.contains("not available") && !nobody.contains("hush"), "{nobody}");
    let latin = format!("latin_{}", fresh.name);
    run_on(
        &fresh.server,
        &format!("CREATE DATABASE {latin} ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0"),
    )
    .await;
    let encoding = refused(format!("{base}/{latin}")).await;
    assert!(encoding.contains("UTF8"), "{encoding}");
    run_on(&fresh.server, &format!("DROP DATABASE {latin} WITH (FORCE)")).await;
    fresh.end().await;
}

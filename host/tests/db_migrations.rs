//! Migrations of the host and of extensions, up and down, on real files.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

mod support_db;

use std::path::Path;

use support_db::{Fresh, apply, query};
use tinybase_abi::codec::{Expect, Value};
use tinybase_host::db::{
    Cost, Database, Engine,
    migrations::{MigrateError, Migration, Migrator, host_migrations},
};

const NONE: [Value; 0] = [];

fn migration(version: u32, up: &'static str, down: &'static str) -> Migration {
    Migration { version, title: format!("step {version}").into(), up: up.into(), down: down.into() }
}

fn notes() -> Vec<Migration> {
    vec![
        migration(
            1,
            "-- Notes; with a count.
             CREATE TABLE notes_items (id INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT REFERENCES tb_users (id), t TEXT);
             CREATE TABLE notes_count (n INTEGER NOT NULL);
             INSERT INTO notes_count VALUES (0);
             CREATE TRIGGER notes_added AFTER INSERT ON notes_items BEGIN
                 UPDATE notes_count SET n = n + 1;
                 SELECT 'a; b';
             END;",
            "DROP TABLE notes_items; DROP TABLE notes_count;",
        ),
        migration(2, "ALTER TABLE notes_items ADD COLUMN title TEXT", "ALTER TABLE notes_items DROP COLUMN title"),
        migration(3, "-- nothing yet", ""),
    ]
}

async fn tables(fresh: &Fresh) -> Vec<String> {
    let sql = "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name";
    let rows = query(&fresh.db, Cost::Short, sql, &NONE).await.unwrap();
    rows.into_iter()
        .map(|mut row| match row.remove(0) {
            Value::Text(name) => name,
            other => panic!("{other:?} is no name"),
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_hosts_tables_come_and_go() {
    let fresh = Fresh::open();
    let host = Migrator::of_host(&*fresh.db);
    assert_eq!(host.current().await.unwrap(), 0);
    let all: Vec<u32> = host_migrations(Engine::Sqlite).iter().map(|migration| migration.version).collect();
    assert_eq!(host.upgrade(None).await.unwrap(), all);
    assert_eq!(host.upgrade(None).await.unwrap(), Vec::<u32>::new());
    assert_eq!(host.current().await.unwrap(), all[all.len() - 1]);
    let expected = [
        "tb_application_tokens",
        "tb_audit_floor",
        "tb_audit_log",
        "tb_extensions",
        "tb_keys",
        "tb_migrations",
        "tb_nodes",
        "tb_one_time_tokens",
        "tb_outbox",
        "tb_recovery_codes",
        "tb_refresh_tokens",
        "tb_request_log",
        "tb_second_factors",
        "tb_sessions",
        "tb_settings",
        "tb_settings_history",
        "tb_settings_state",
        "tb_users",
    ];
    assert_eq!(tables(&fresh).await, expected);
    let history = host.history().await.unwrap();
    assert_eq!((history[0].title.as_str(), history[0].applied_at.is_some()), ("accounts", true));
    assert_eq!(host.downgrade(0).await.unwrap(), all.iter().rev().copied().collect::<Vec<_>>());
    assert_eq!(tables(&fresh).await, ["tb_migrations"]);
    assert_eq!(host.history().await.unwrap()[0].applied_at, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_family_of_refresh_tokens_becomes_a_session_and_goes_back() {
    let fresh = Fresh::open();
    let host = Migrator::of_host(&*fresh.db);
    host.upgrade(Some(2)).await.unwrap();
    let user = "INSERT INTO tb_users (id, email, password_hash, created_at, updated_at) VALUES ('u', 'e', 'h', 't', 't')";
    let token = "INSERT INTO tb_refresh_tokens (token_hash, user_id, family_id, created_at, expires_at, used_at) \
         VALUES (?1, 'u', ?2, ?3, ?4, ?5)";
    let tokens = [
        ("1", "f", "a", "m", Value::Text("b".into())),
        ("2", "f", "b", "n", Value::Null),
        ("3", "g", "c", "o", Value::Null),
    ]
    .map(|(hash, family, created, expires, used)| {
        [Value::Blob(hash.into()), family.into(), created.into(), expires.into(), used]
    });
    let mut statements = vec![(user, NONE.as_slice(), Expect::Exactly(1))];
    statements.extend(tokens.iter().map(|values| (token, values.as_slice(), Expect::Exactly(1))));
    apply(&fresh.db, &statements).await.unwrap();
    let all = "SELECT hex(token_hash), user_id, family_id, created_at, expires_at, used_at \
         FROM tb_refresh_tokens ORDER BY 1";
    let before = query(&fresh.db, Cost::Short, all, &NONE).await.unwrap();

    host.upgrade(Some(3)).await.unwrap();
    let sessions = "SELECT id || user_id || method || created_at || last_used_at || expires_at FROM tb_sessions ORDER BY 1";
    let sessions = query(&fresh.db, Cost::Short, sessions, &NONE).await.unwrap();
    assert_eq!(sessions, [["fupasswordabn".into()], ["gupasswordcco".into()]]);
    host.downgrade(2).await.unwrap();
    assert_eq!(query(&fresh.db, Cost::Short, all, &NONE).await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extension_migrates_within_its_scope() {
    let fresh = Fresh::open();
    Migrator::of_host(&*fresh.db).upgrade(None).await.unwrap();
    let migrator = Migrator::of_extension(&*fresh.db, "notes", notes()).unwrap();
    assert_eq!(migrator.upgrade(Some(1)).await.unwrap(), [1]);
    let insert = ("INSERT INTO notes_items (t) VALUES ('x')", NONE.as_slice(), Expect::Exactly(1));
    apply(&fresh.db, &[insert]).await.unwrap();
    assert_eq!(
        query(&fresh.db, Cost::Short, "SELECT n FROM notes_count", &NONE).await.unwrap(),
        [[1.into()]]
    );
    assert_eq!(migrator.upgrade(None).await.unwrap(), [2, 3]);
    assert!(matches!(migrator.downgrade(0).await, Err(MigrateError::NoWayBack { version: 3, .. })));
    let migrator = Migrator::of_extension(&*fresh.db, "notes", {
        let mut with_a_way_back = notes();
        with_a_way_back[2].down = "SELECT 1".into();
        with_a_way_back
    })
    .unwrap();
    assert_eq!(migrator.downgrade(0).await.unwrap(), [3, 2, 1]);
    assert!(!tables(&fresh).await.iter().any(|table| table.starts_with("notes_")));

    let foreign = vec![migration(1, "CREATE TABLE notes_a (x); CREATE TABLE tb_evil (x);", "")];
    let evil = Migrator::of_extension(&*fresh.db, "notes", foreign).unwrap();
    let refused = evil.upgrade(None).await.unwrap_err();
    assert!(
        matches!(&refused, MigrateError::Failed { source, .. } if source.code() == "db_denied"),
        "{refused}"
    );
    assert!(!tables(&fresh).await.contains(&"notes_a".to_owned()));
    assert_eq!(evil.current().await.unwrap(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_is_refused_by_name() {
    let fresh = Fresh::open();
    Migrator::of_host(&*fresh.db).upgrade(None).await.unwrap();
    let with = |migrations| Migrator::of_extension(&*fresh.db, "notes", migrations);
    let gap = vec![migration(1, "SELECT 1", ""), migration(3, "SELECT 1", "")];
    assert!(matches!(with(gap), Err(MigrateError::Gap { expected: 2, found: 3, .. })));
    assert!(matches!(Migrator::of_extension(&*fresh.db, "host", notes()), Err(MigrateError::ReservedOwner)));

    with(notes()).unwrap().upgrade(Some(2)).await.unwrap();
    let too_far = with(notes()).unwrap().upgrade(Some(9)).await;
    assert!(matches!(too_far, Err(MigrateError::NoSuchVersion { version: 9, newest: 3, .. })));
    let mut changed = notes();
    changed[1].up = "ALTER TABLE notes_items ADD COLUMN headline TEXT".into();
    assert!(matches!(
        with(changed).unwrap().upgrade(None).await,
        Err(MigrateError::Changed { version: 2, .. })
    ));
    let older = with(notes()[..1].to_vec()).unwrap();
    assert!(matches!(older.upgrade(None).await, Err(MigrateError::Unknown { version: 2, .. })));
    assert_eq!(older.history().await.unwrap().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_fails_leaves_nothing() {
    let fresh = Fresh::open();
    Migrator::of_host(&*fresh.db).upgrade(None).await.unwrap();
    let broken = vec![migration(1, "CREATE TABLE notes_a (x); INSERT INTO notes_a VALUES (1), (2, 3);", "")];
    let migrator = Migrator::of_extension(&*fresh.db, "notes", broken).unwrap();
    let failed = migrator.upgrade(None).await.unwrap_err();
    assert!(failed.to_string().contains("migration 1 (step 1) of notes failed and was undone"), "{failed}");
    assert!(!tables(&fresh).await.contains(&"notes_a".to_owned()));
}

#[test]
fn every_file_of_a_migration_is_built_in() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/sqlite");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    found.sort();
    let built_in: Vec<String> = host_migrations(Engine::Sqlite)
        .iter()
        .flat_map(|migration| {
            ["down", "up"].map(|way| format!("{:04}_{}.{way}.sql", migration.version, migration.title))
        })
        .collect();
    assert_eq!(found, built_in);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_migrators_at_once_apply_each_step_once() {
    let fresh = Fresh::open();
    let other = tinybase_host::db::sqlite::Sqlite::open(&fresh.options).unwrap();
    let (here, there) = (Migrator::of_host(&*fresh.db), Migrator::of_host(&*other));
    let (here, there) = tokio::join!(here.upgrade(None), there.upgrade(None));
    assert_eq!(here.unwrap().len() + there.unwrap().len(), host_migrations(Engine::Sqlite).len());
    other.shut_down().await;
}

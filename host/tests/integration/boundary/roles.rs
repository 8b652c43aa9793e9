//! Tests the roles under which extensions' statements run on PostgreSQL, and that connections never keep one for
//! another scope.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tinybase_abi::codec::Expect;
use tinybase_host::db::{
    Database, DbError, ReadHint, SqlOwner,
    migrations::Migrator,
    postgres::{Postgres, PostgresOptions},
};

use super::{NONE, USERS, state, tables, tables_in};
use crate::support::db::{Fresh, apply, apply_as, query, query_as};

/// What the server itself refuses to an extension's role, whatever the text of a statement.
const REFUSED_BY_THE_SERVER: &[&str] = &[
    "SELECT * FROM tb_settings",
    "SELECT email FROM tb_users",
    "SELECT u::text FROM tb_users u",
    "TABLE tb_settings",
    "UPDATE tb_users SET role = 'admin'",
    "DELETE FROM tb_users",
    "DROP TABLE tb_request_log",
    "DROP TABLE a_items, tb_request_log",
    "ALTER TABLE tb_users ADD COLUMN x TEXT",
    "CREATE INDEX a_i ON tb_users (email)",
    "CREATE TRIGGER a_t AFTER UPDATE ON tb_users FOR EACH ROW EXECUTE FUNCTION tb_note_change()",
    "CREATE TABLE a_child () INHERITS (tb_users)",
    "CREATE TABLE a_ref (k TEXT COLLATE \"C\" REFERENCES tb_settings (key))",
    "INSERT INTO a_items (t) SELECT value FROM tb_settings",
    "SELECT ts_rewrite('a'::tsquery, 'SELECT value::tsquery, value::tsquery FROM tb_settings')",
    "SELECT query_to_xml('SELECT * FROM tb_settings', true, true, '')",
    "SELECT setval('tb_outbox_id_seq', 7)",
    "SELECT t FROM b_items",
    "DELETE FROM b_items",
    "DROP TABLE b_items",
    "TRUNCATE b_items",
    "CREATE OR REPLACE FUNCTION tb_note_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RETURN NULL; END $$",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT lo_import('/etc/passwd')",
    "COPY a_items TO PROGRAM 'true'",
    "COPY a_items FROM '/etc/passwd'",
    "CREATE ROLE a_role",
    "CREATE EXTENSION dblink",
    "GRANT SELECT ON tb_settings TO PUBLIC",
    "SELECT * FROM pg_authid",
];

fn role_of(database: &tinybase_test_postgres::Database, extension: &str) -> String {
    database
        .run(&format!("SELECT 'tb_' || substr(md5(current_database()), 1, 12) || '_{extension}'"))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_extensions_role_has_no_rights_on_what_is_not_its_own() {
    let (fresh, _) = tables().await;
    let Some(database) = fresh.on_server() else {
        return println!("skipped: SQLite has no roles");
    };
    let role = role_of(database, "a");
    let owners =
        database.run("SELECT tableowner FROM pg_tables WHERE tablename IN ('a_items', 'a_more')").unwrap();
    assert_eq!(owners.lines().collect::<Vec<_>>(), [role.as_str(), role.as_str()]);
    let before = state(&fresh).await;
    for sql in REFUSED_BY_THE_SERVER {
        let ran = database.run(&format!("SET ROLE \"{role}\"; {sql}"));
        let problem = ran.expect_err(sql).to_string();
        let words = ["permission", "must be owner", "must be superuser"];
        assert!(words.iter().any(|words| problem.contains(words)), "{sql}: {problem}");
    }
    let reads =
        format!("SET ROLE \"{role}\"; SELECT count(*) FROM a_items; SELECT id FROM tb_users WHERE id = 'u'");
    assert_eq!(database.run(&reads).unwrap(), "1\nu");
    assert_eq!(state(&fresh).await, before);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_of_one_database_and_go_with_their_extension() {
    let (fresh, scope) = tables().await;
    let (Some(database), (other, _)) = (fresh.on_server(), tables().await) else {
        return println!("skipped: SQLite has no roles");
    };
    let (role, of_other) = (role_of(database, "a"), role_of(other.on_server().unwrap(), "a"));
    assert_ne!(role, of_other);
    let count = |role: &str| {
        database.run(&format!("SELECT count(*) FROM pg_roles WHERE rolname = '{role}'")).unwrap()
    };
    assert_eq!((count(&role), count(&of_other)), ("1".to_owned(), "1".to_owned()));
    fresh.db.forget_extension("a").await.unwrap();
    assert_eq!((count(&role), count(&of_other)), ("0".to_owned(), "1".to_owned()));
    assert_eq!(database.run("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'a\\_%'").unwrap(), "0");
    // It may be created again.
    let again = [("CREATE TABLE a_again (x TEXT)", NONE.as_slice(), Expect::Any)];
    apply_as(&fresh.db, &scope, &again).await.unwrap();
    assert_eq!(count(&role), "1");
    fresh.db.forget_extension("nobody").await.unwrap();
    for db in [&fresh.db, &other.db] {
        for name in ["a", "b"] {
            db.forget_extension(name).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_from_before_become_the_roles_and_the_host_still_reads_them() {
    let fresh = Fresh::open_without_roles().await;
    let (fresh, scope) = tables_in(fresh).await;
    let Some(database) = fresh.on_server() else {
        return println!("skipped: SQLite has no roles");
    };
    assert_eq!(fresh.db.extension_rights().name(), "text");
    let made = "CREATE FUNCTION a_f(x text) RETURNS text LANGUAGE sql AS $$ SELECT x $$";
    apply_as(&fresh.db, &scope, &[(made, &NONE, Expect::Any)]).await.unwrap();
    let with_roles = fresh.beside().await;
    assert_eq!(with_roles.extension_rights().name(), "roles");
    let read = query_as(&with_roles, &scope, ReadHint::Indexed, "SELECT a_f(t) FROM a_items", &NONE, None)
        .await
        .unwrap();
    assert_eq!(read, [["mine".into()]]);
    let role = role_of(database, "a");
    let owners = "SELECT pg_get_userbyid(relowner) FROM pg_class WHERE relname LIKE 'a\\_%' AND relkind IN ('r', 'S') \
                  UNION SELECT pg_get_userbyid(proowner) FROM pg_proc WHERE proname LIKE 'a\\_%'";
    assert_eq!(database.run(owners).unwrap(), role);
    assert_eq!(query(&with_roles, ReadHint::Indexed, "SELECT t FROM a_items", &NONE).await.unwrap().len(), 1);
    // A foreign key acts as the role that owns the table, when the host deletes the row it refers to.
    let owned = "INSERT INTO a_items (owner, t) VALUES ('u', 'owned')";
    apply_as(&with_roles, &scope, &[(owned, &NONE, Expect::Any)]).await.unwrap();
    apply(&with_roles, &[("DELETE FROM tb_users WHERE id = 'u'", &NONE, Expect::Exactly(1))]).await.unwrap();
    assert_eq!(query(&with_roles, ReadHint::Indexed, "SELECT t FROM a_items", &NONE).await.unwrap().len(), 1);
    for name in ["a", "b"] {
        with_roles.forget_extension(name).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_never_keeps_a_role_for_another_scope() {
    let (fresh, scope) = tables().await;
    let other = SqlOwner::Extension("b".into());
    let insert = |table: &str| format!("INSERT INTO {table} (t) VALUES ('x')");
    let host = "UPDATE tb_users SET updated_at = 'x'";
    for _ in 0..8 {
        // Rolled back, and done in the names of several.
        let fails =
            [(insert("a_items"), Expect::Any), ("UPDATE a_items SET t = t".to_owned(), Expect::Exactly(999))];
        let fails: Vec<_> =
            fails.iter().map(|(sql, expect)| (sql.as_str(), NONE.as_slice(), *expect)).collect();
        apply_as(&fresh.db, &scope, &fails).await.unwrap_err();
        let batch = |sql: &str, expect| crate::support::db::batch(&[(sql, &NONE, expect)]);
        let attached = vec![
            (SqlOwner::Host, batch(host, Expect::Any)),
            (other.clone(), batch(&insert("b_items"), Expect::Any)),
            (scope.clone(), batch("UPDATE a_more SET x = x", Expect::Exactly(999))),
        ];
        fresh
            .db
            .apply_attached(&scope, batch("UPDATE a_more SET x = x", Expect::Any), attached)
            .await
            .unwrap_err();
        let attached = vec![
            (SqlOwner::Host, batch(host, Expect::Any)),
            (other.clone(), batch(&insert("b_items"), Expect::Any)),
        ];
        fresh
            .db
            .apply_attached(&scope, batch("UPDATE a_more SET x = x", Expect::Any), attached)
            .await
            .unwrap();
        apply(&fresh.db, &[(host, &NONE, Expect::Any)]).await.unwrap();
        let denied = apply_as(&fresh.db, &other, &[(host, &NONE, Expect::Any)]).await;
        assert!(matches!(denied, Err(DbError::Denied { .. })), "{denied:?}");
    }
    let stolen = vec![(other, crate::support::db::batch(&[(&insert("a_items"), &NONE, Expect::Any)]))];
    let own = crate::support::db::batch(&[("UPDATE a_more SET x = x", &NONE, Expect::Any)]);
    let answer = fresh.db.apply_attached(&scope, own, stolen).await;
    assert!(matches!(&answer, Err(DbError::Denied { scope, .. }) if scope == "b"), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_read_changes_nothing() {
    let (fresh, scope) = tables().await;
    let Some(database) = fresh.on_server() else {
        return println!("skipped: SQLite's readers are opened read-only");
    };
    let writes = "CREATE FUNCTION a_w() RETURNS bigint LANGUAGE sql AS $$ INSERT INTO a_more VALUES ('x') RETURNING 1::bigint $$";
    apply_as(&fresh.db, &scope, &[(writes, &NONE, Expect::Any)]).await.unwrap();
    for cost in [ReadHint::PointLookup, ReadHint::Indexed, ReadHint::Scan] {
        let answer = query_as(&fresh.db, &scope, cost, "SELECT a_w()", &NONE, None).await;
        assert!(matches!(&answer, Err(DbError::Sql(problem)) if problem.contains("read-only")), "{answer:?}");
    }
    assert_eq!(database.run("SELECT count(*) FROM a_more").unwrap(), "0");
    apply_as(&fresh.db, &scope, &[("SELECT a_w()", &NONE, Expect::Any)]).await.unwrap();
    assert_eq!(database.run("SELECT count(*) FROM a_more").unwrap(), "1");
}

/// The rights of the user by which the host connects, and the resulting separation of extensions' statements.
const USERS_OF_THE_SERVER: &[(&str, &str)] = &[("CREATEROLE", "roles"), ("NOCREATEROLE", "text")];

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_no_superuser_makes_roles_where_it_may() {
    let fresh = Fresh::open().await;
    let Some(database) = fresh.on_server() else {
        return println!("skipped: SQLite has no roles");
    };
    for (right, expected) in USERS_OF_THE_SERVER {
        let name = database.run("SELECT current_database()").unwrap();
        let user = format!("{name}_{}", right.to_lowercase());
        let version = database.run("SHOW server_version_num").unwrap().parse::<u32>().unwrap();
        // In earlier versions, the schema does not belong to the database's owner.
        let grant = if version < 150_000 {
            "GRANT ALL ON SCHEMA public TO {user} WITH GRANT OPTION"
        } else {
            "SELECT 1"
        };
        database
            .run(&format!(
                "CREATE ROLE {user} LOGIN {right} PASSWORD 'p'; ALTER DATABASE {name} OWNER TO {user}; {}",
                grant.replace("{user}", &user)
            ))
            .unwrap();
        let mut url = url::Url::parse(&database.url()).unwrap();
        url.set_username(&user).unwrap();
        url.set_password(Some("p")).unwrap();
        let db: Arc<dyn Database> = Postgres::open(&PostgresOptions::new(url.as_str())).await.unwrap();
        assert_eq!(db.extension_rights().name(), *expected, "{right}");
        Migrator::of_host(&*db).upgrade(None).await.unwrap();
        apply(&db, &[(USERS, &NONE, Expect::Any)]).await.unwrap();
        let scope = SqlOwner::Extension("a".into());
        for sql in [
            "CREATE TABLE a_items (id BIGINT PRIMARY KEY, owner TEXT COLLATE \"C\" REFERENCES tb_users (id) ON DELETE CASCADE)",
            "INSERT INTO a_items VALUES (1, 'u'), (2, 'v')",
            "CREATE CONSTRAINT TRIGGER a_told AFTER DELETE ON a_items DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION tb_note_change()",
        ] {
            let made = apply_as(&db, &scope, &[(sql, &NONE, Expect::Any)]).await;
            made.unwrap_or_else(|error| panic!("{right}: {sql}: {error:?}"));
        }
        let changes = "SELECT version FROM tb_changes";
        let before = query(&db, ReadHint::Indexed, changes, &NONE).await.unwrap();
        apply_as(&db, &scope, &[("DELETE FROM a_items WHERE id = 2", &NONE, Expect::Exactly(1))])
            .await
            .unwrap();
        assert_ne!(
            query(&db, ReadHint::Indexed, changes, &NONE).await.unwrap(),
            before,
            "{right}: the change is counted"
        );
        apply(&db, &[("DELETE FROM tb_users WHERE id = 'u'", &NONE, Expect::Exactly(1))]).await.unwrap();
        assert!(query(&db, ReadHint::Indexed, "SELECT id FROM a_items", &NONE).await.unwrap().is_empty());
        db.forget_extension("a").await.unwrap();
        db.shut_down().await;
        let tidy = format!(
            "DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION pg_database_owner; ALTER DATABASE {name} OWNER TO CURRENT_USER; DROP OWNED BY {user}; DROP ROLE {user}"
        );
        let mut left = database.run(&tidy);
        // Its connections close a moment later.
        let deadline = Instant::now() + Duration::from_secs(5);
        while left.is_err() && Instant::now() < deadline {
            tokio::task::yield_now().await;
            left = database.run(&tidy);
        }
        left.unwrap();
    }
}

//! Tests the audit log over a real database: append-only for everyone, retention, tickets, its routes.

use std::{sync::Arc, time::Duration};

use crate::support::db::{Fresh, apply_as};
use axum::{Router, body::Body};
use futures_util::future::BoxFuture;
use http::Request;
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};
use tinybase_host::{
    accounts::{Caller, Role, Scopes},
    audit::{
        Actor, ActorKind, AuditLog, Entry, Retention, push, push_of_extension, routes, sweep, sweep_a_step,
    },
    db::{Database, DbError, Engine, SqlOwner, migrations::Migrator},
    error::ApiError,
    http::{Authenticate, HostRoutes},
    plugins::deferred_batches::{DeferredBatchDatabase, DeferredBatches},
    sql::{HostSql, integer, text, time_from_now},
};
use tower::ServiceExt;

const DAY_SECONDS: i64 = 86_400;
/// How long the test waits for the retention job.
const WAIT_MAX: Duration = Duration::from_secs(10);

async fn fresh() -> (Fresh, HostSql) {
    let fresh = Fresh::open().await;
    Migrator::of_host(&*fresh.db).upgrade(None).await.unwrap();
    let sql = HostSql::new(Arc::clone(&fresh.db) as _);
    (fresh, sql)
}

/// Returns a batch with one entry.
fn entry(action: &str, target: &str, change: Json) -> BatchWriter {
    let actor = Actor {
        id: Some("u1".to_owned()),
        address: Some("::1".to_owned()),
        ..Actor::local(ActorKind::User, "ada@example.org")
    };
    let mut batch = BatchWriter::default();
    push(&mut batch, &actor, &Entry { action, target_kind: "user", target_id: target, change });
    batch
}

/// Returns a batch with one entry of an extension.
fn entry_of(extension: &str, action: &str, target: &str) -> BatchWriter {
    let actor = Actor { id: Some("u1".to_owned()), ..Actor::local(ActorKind::User, "ada@example.org") };
    let mut batch = BatchWriter::default();
    let entry = Entry { action, target_kind: "user", target_id: target, change: json!({}) };
    push_of_extension(&mut batch, &actor, extension, &entry);
    batch
}

/// Adds an entry from this many seconds ago.
async fn old_entry(sql: &HostSql, action: &str, seconds_ago: i64) {
    let at = time_from_now(-seconds_ago);
    let mut batch = BatchWriter::default();
    let insert = "INSERT INTO tb_audit_log (at, actor_kind, actor_name, action, target_kind, target_id, change) \
                  VALUES (?1, 'system', 'tinybase', ?2, 'x', 'y', '{}')";
    batch.push(insert, [ValueRef::Text(&at), ValueRef::Text(action)], Expect::Exactly(1));
    sql.apply(batch).await.unwrap();
}

async fn actions(sql: &HostSql) -> Vec<String> {
    let rows = sql.rows("SELECT action FROM tb_audit_log ORDER BY id", &[]).await.unwrap();
    rows.iter().map(|row| text(row, 0)).collect()
}

/// Statements that would change or delete a kept entry, or move the floor so that this became possible.
const TAMPERING: [&str; 8] = [
    "UPDATE tb_audit_log SET action = 'x'",
    "DELETE FROM tb_audit_log",
    "DELETE FROM tb_audit_log WHERE action = 'a.b'",
    "UPDATE tb_audit_floor SET keep_from = ''",
    "UPDATE tb_audit_floor SET keep_from = '2999-01-01T00:00:00.000000Z'",
    "DELETE FROM tb_audit_floor",
    "INSERT INTO tb_audit_floor VALUES (1, '') ON CONFLICT DO NOTHING",
    "INSERT INTO tb_audit_floor VALUES (2, '2999')",
];

/// The same in SQLite's dialect.
const TAMPERING_SQLITE: [&str; 5] = [
    "UPDATE OR REPLACE tb_audit_log SET id = id + 1",
    "INSERT OR REPLACE INTO tb_audit_log (id, at, actor_kind, actor_name, action, target_kind, target_id, change) \
     VALUES (1, '2026', 'system', '', 'x', 'x', 'x', '{}')",
    "REPLACE INTO tb_audit_log (id, at, actor_kind, actor_name, action, target_kind, target_id, change) \
     SELECT id, at, actor_kind, actor_name, 'x', target_kind, target_id, change FROM tb_audit_log",
    "UPDATE tb_audit_floor SET keep_from = strftime('%Y-%m-%dT%H:%M:%f000Z', 'now', '-1 hour')",
    "INSERT OR REPLACE INTO tb_audit_floor VALUES (1, '')",
];

/// The same in PostgreSQL's dialect.
const TAMPERING_POSTGRES: [&str; 5] = [
    "INSERT INTO tb_audit_log (id, at, actor_kind, actor_name, action, target_kind, target_id, change) \
     SELECT id, at, actor_kind, actor_name, 'x', target_kind, target_id, change FROM tb_audit_log \
     ON CONFLICT (id) DO UPDATE SET action = excluded.action",
    "WITH gone AS (DELETE FROM tb_audit_log RETURNING id) SELECT id FROM gone",
    "TRUNCATE tb_audit_log",
    "TRUNCATE tb_audit_floor",
    "UPDATE tb_audit_floor SET keep_from = to_char((now() - interval '1 hour') AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS')",
];

#[tokio::test]
async fn a_kept_entry_is_changed_by_nobody_and_the_floor_moves_forward_alone() {
    let (fresh, sql) = fresh().await;
    old_entry(&sql, "a.b", 3 * DAY_SECONDS).await;
    sql.apply(entry("user.update", "u2", json!({}))).await.unwrap();
    sweep(&sql, &time_from_now(-4 * DAY_SECONDS)).await.unwrap();
    let extension = SqlOwner::Extension("audit".into());
    let own = match fresh.db.engine() {
        Engine::Sqlite => TAMPERING_SQLITE,
        Engine::Postgres => TAMPERING_POSTGRES,
    };
    for statement in TAMPERING.into_iter().chain(own) {
        let refused =
            apply_as(&fresh.db, &SqlOwner::Host, &[(statement, &[], Expect::Any)]).await.unwrap_err();
        let told = refused.to_string();
        assert!(
            told.contains("append-only") || told.contains("only moves forward"),
            "{statement}: {refused:?}"
        );
        let refused = apply_as(&fresh.db, &extension, &[(statement, &[], Expect::Any)]).await.unwrap_err();
        assert!(matches!(refused, DbError::Denied { .. }), "{statement}: {refused:?}");
    }
    let insert = "INSERT INTO tb_audit_log (at, actor_kind, actor_name, action, target_kind, target_id, change) \
                  VALUES ('', 'system', '', 'x', 'x', 'x', '{}')";
    for statement in [insert, "SELECT * FROM tb_audit_log", "DROP TRIGGER tb_audit_log_no_delete"] {
        let refused = apply_as(&fresh.db, &extension, &[(statement, &[], Expect::Any)]).await.unwrap_err();
        assert!(matches!(refused, DbError::Denied { .. }), "{statement}: {refused:?}");
    }
    assert_eq!(actions(&sql).await, ["a.b", "user.update"]);
}

#[tokio::test]
async fn what_is_older_than_its_retention_is_deleted_however_much_it_is() {
    let (_fresh, sql) = fresh().await;
    let mut batch = BatchWriter::default();
    let many = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 1200) INSERT INTO tb_audit_log \
                (at, actor_kind, actor_name, action, target_kind, target_id, change) \
                SELECT ?1, 'system', '', 'old.old', 'x', n, '{}' FROM n";
    let at = time_from_now(-31 * DAY_SECONDS);
    batch.push(many, [ValueRef::Text(&at)], Expect::Any);
    sql.apply(batch).await.unwrap();
    old_entry(&sql, "young.enough", 29 * DAY_SECONDS).await;
    old_entry(&sql, "young", 0).await;
    let floor = time_from_now(-30 * DAY_SECONDS);
    assert_eq!(sweep(&sql, &floor).await.unwrap(), 1200);
    assert_eq!(actions(&sql).await, ["young.enough", "young"]);
    assert_eq!(sweep(&sql, &floor).await.unwrap(), 0);
    assert_eq!(
        sweep(&sql, &time_from_now(-90 * DAY_SECONDS)).await.unwrap(),
        0,
        "a longer retention is no fault"
    );
    let too_near = sweep(&sql, &time_from_now(-3600)).await;
    assert!(too_near.is_err_and(|error| error.to_string().contains("at least a day")));
    assert_eq!(actions(&sql).await.len(), 2);
}

#[tokio::test]
async fn a_clock_that_is_ahead_empties_no_log() {
    let (_fresh, sql) = fresh().await;
    for days_ago in [50, 40, 39, 3] {
        old_entry(&sql, &format!("d{days_ago}.x"), days_ago * DAY_SECONDS).await;
    }
    // As a sweep with a clock that is a month ahead would do.
    let keep_from = time_from_now(-2 * DAY_SECONDS);
    assert_eq!(sweep_a_step(&sql, &keep_from).await.unwrap(), 1);
    assert_eq!(actions(&sql).await, ["d40.x", "d39.x", "d3.x"]);
    // The oldest day with entries, not a calendar day without any.
    assert_eq!(sweep_a_step(&sql, &keep_from).await.unwrap(), 1);
    assert_eq!(actions(&sql).await, ["d39.x", "d3.x"]);
    let usual = time_from_now(-30 * DAY_SECONDS);
    assert_eq!(sweep_a_step(&sql, &usual).await.unwrap(), 1);
    assert_eq!(sweep_a_step(&sql, &usual).await.unwrap(), 0);
    assert_eq!(actions(&sql).await, ["d3.x"]);
}

#[tokio::test]
async fn a_server_deletes_what_is_too_old_when_it_starts_unless_everything_is_kept() {
    let (_fresh, sql) = fresh().await;
    old_entry(&sql, "too.old", 31 * DAY_SECONDS).await;
    old_entry(&sql, "young.enough", 29 * DAY_SECONDS).await;
    let forever = Retention::start(sql.clone(), 0);
    let retention = Retention::start(sql.clone(), 30);
    let swept = async {
        while actions(&sql).await != ["young.enough"] {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(WAIT_MAX, swept).await.expect("the old entry is deleted");
    drop((forever, retention));
}

/// An entry that waits for its change is committed with it, once, in the host's scope, and fails with it.
#[tokio::test]
async fn an_entry_shares_the_fate_of_the_change_that_it_waits_for() {
    let (fresh, sql) = fresh().await;
    let scope = SqlOwner::Extension("notes".into());
    let table = ("CREATE TABLE notes_notes (id INTEGER PRIMARY KEY)", &[][..], Expect::Any);
    apply_as(&fresh.db, &scope, &[table]).await.unwrap();
    let deferred_batches = Arc::new(DeferredBatches::default());
    let redeeming = DeferredBatchDatabase::new(Arc::clone(&fresh.db) as _, Arc::clone(&deferred_batches));
    let change = |id: i64, action: &str| {
        let mut batch = BatchWriter::default();
        batch.push("INSERT INTO notes_notes VALUES (?1)", [ValueRef::Integer(id)], Expect::Exactly(1));
        let kept = vec![(SqlOwner::Host, entry_of("notes", action, "n").finish())];
        batch.push_ticket(deferred_batches.issue(kept).unwrap());
        batch.finish()
    };
    let applied = change(1, "applied");
    redeeming.apply(&scope, applied.clone()).await.unwrap();
    assert!(redeeming.apply(&scope, applied).await.is_err(), "a ticket is good for once");
    let refused = redeeming.apply(&scope, change(1, "refused")).await.unwrap_err();
    assert!(matches!(refused, DbError::Unique { .. }), "{refused:?}");
    for (id, action, commit) in [(2, "undone", false), (3, "committed", true)] {
        let mut transaction = redeeming.begin(&scope, Duration::from_secs(10)).await.unwrap();
        transaction.apply(change(id, action)).await.unwrap();
        if commit { transaction.commit().await } else { transaction.rollback().await }.unwrap();
    }
    assert_eq!(actions(&sql).await, ["notes.applied", "notes.committed"]);
    let rows = sql.rows("SELECT id FROM notes_notes", &[]).await.unwrap();
    assert_eq!(rows.iter().map(|row| integer(row, 0)).collect::<Vec<_>>(), [1, 3]);
}

/// Treats a role, or a scope, as a token.
struct Roles;

impl Authenticate for Roles {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<Caller>, ApiError>> {
        let role = [Role::User, Role::Viewer, Role::Editor, Role::Admin]
            .into_iter()
            .find(|role| role.name() == token);
        let scopes = role.is_none().then(|| Scopes::new(&[token]).unwrap());
        let caller = Caller {
            user_id: "u1".to_owned(),
            email: "ada@example.org".to_owned(),
            role: role.unwrap_or(Role::Admin),
            epoch: 0,
            session_id: None,
            token_id: scopes.is_some().then(|| "t1".into()),
            scopes,
        };
        Box::pin(async { Ok(Arc::new(caller)) })
    }
}

fn router(sql: &HostSql) -> Router {
    let mut own = HostRoutes::default();
    routes(&mut own, AuditLog::new(sql.clone()));
    own.into_router(&(Arc::new(Roles) as Arc<dyn Authenticate>))
}

async fn get(router: &Router, target: &str, token: &str) -> (u16, String, String) {
    let request = Request::builder().uri(target).header("authorization", format!("Bearer {token}"));
    let response = router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    let status = response.status().as_u16();
    let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, kind, String::from_utf8(body.to_vec()).unwrap())
}

async fn page(router: &Router, query: &str) -> Json {
    let (status, _, body) = get(router, &format!("/api/admin/audit-log?{query}"), "viewer").await;
    assert_eq!(status, 200, "{query}: {body}");
    serde_json::from_str(&body).unwrap()
}

fn targets(page: &Json) -> Vec<&str> {
    page["entries"].as_array().unwrap().iter().map(|entry| entry["target_id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn entries_are_found_by_each_filter_and_paged_without_a_gap() {
    let (_fresh, sql) = fresh().await;
    let router = router(&sql);
    for (action, target) in [
        ("user.create", "a"),
        ("user.update", "a"),
        ("user.update", "b"),
        ("users.see", "c"),
        ("user.delete", "b"),
    ] {
        let change = json!({"email": {"from": null, "to": target}});
        let batch = match action.strip_prefix("users.") {
            Some(action) => entry_of("users", action, target),
            None => entry(action, target, change),
        };
        sql.apply(batch).await.unwrap();
    }
    let all = page(&router, "").await;
    assert_eq!(targets(&all), ["b", "c", "b", "a", "a"]);
    assert_eq!(
        (&all["total"], &all["total_is_exact"], &all["next_cursor"]),
        (&json!(5), &json!(true), &Json::Null)
    );
    let newest = &all["entries"][0];
    assert_eq!(
        (
            &newest["actor_kind"],
            &newest["actor_id"],
            &newest["actor_name"],
            &newest["address"],
            &newest["change"]
        ),
        (
            &json!("user"),
            &json!("u1"),
            &json!("ada@example.org"),
            &json!("::1"),
            &json!({"email": {"from": null, "to": "b"}})
        )
    );
    let at = all["entries"][2]["at"].as_str().unwrap();
    for (query, found) in [
        ("action=user.update", "b a"),
        ("action=user.*", "b b a a"),
        ("action=*", "b c b a a"),
        ("target_id=a&target_kind=user", "a a"),
        ("target_kind=nothing", ""),
        ("actor_id=u1&limit=2&offset=1", "c b"),
        (&format!("from={at}"), "b c b"),
        (&format!("to={at}"), "a a"),
        (&format!("from={at}&to={at}"), ""),
        ("offset=9223372036854775807", ""),
    ] {
        assert_eq!(targets(&page(&router, query).await).join(" "), found, "{query}");
    }
    let (mut cursor, mut seen) = (String::new(), Vec::new());
    for _ in 0..3 {
        let part = page(&router, &format!("limit=2&cursor={cursor}")).await;
        seen.extend(targets(&part).into_iter().map(str::to_owned));
        cursor = part["next_cursor"].as_str().unwrap_or_default().to_owned();
        assert_eq!(part["total"], Json::Null);
        // Entries that are added meanwhile do not shift the pages.
        sql.apply(entry("user.logout", "later", json!({}))).await.unwrap();
    }
    assert_eq!((seen.join(" ").as_str(), cursor.as_str()), ("b c b a a", ""));
}

#[tokio::test]
async fn the_log_is_for_those_who_may_see_the_administration() {
    let (_fresh, sql) = fresh().await;
    let router = router(&sql);
    for path in ["/api/admin/audit-log", "/api/admin/audit-log/export"] {
        for (token, status) in [
            ("user", 403),
            ("viewer", 200),
            ("editor", 200),
            ("admin", 200),
            ("admin:audit:read", 200),
            ("admin:*", 200),
            ("admin:users:read", 403),
        ] {
            assert_eq!(get(&router, path, token).await.0, status, "{path} as {token}");
        }
        assert_eq!(get(&router, &format!("{path}?actor=x"), "viewer").await.0, 422, "{path}");
    }
}

#[tokio::test]
async fn an_export_holds_every_entry_in_order_as_lines() {
    let (_fresh, sql) = fresh().await;
    let router = router(&sql);
    for number in 0..250 {
        sql.apply(entry("user.update", &format!("u,{number}"), json!({"n": number}))).await.unwrap();
    }
    old_entry(&sql, "other.x", 0).await;
    let target = "/api/admin/audit-log/export?action=user.*";
    let (_, kind, lines) = get(&router, target, "viewer").await;
    assert_eq!(kind, "application/x-ndjson");
    let read: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = read.iter().map(|entry| entry["change"]["n"].as_u64().unwrap()).collect();
    assert_eq!(numbers, (0..250).collect::<Vec<_>>());
    let (_, kind, table) =
        get(&router, &format!("{target}&format=csv&to=2999-01-01T00:00:00Z"), "viewer").await;
    assert_eq!((kind.as_str(), table.lines().count()), ("text/csv; charset=utf-8", 251));
    assert!(
        table.starts_with("id,at,actor_kind,") && table.contains(",user,\"u,249\",\"{\"\"n\"\":249}\"\n")
    );
    let (_, _, none) = get(&router, "/api/admin/audit-log/export?action=nothing", "viewer").await;
    assert_eq!(none, "");
}

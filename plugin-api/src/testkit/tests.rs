//! Tests of the test host, with a small extension that uses every feature.

use std::{
    fs,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

use super::*;
use crate::{audit::Entry, http::HttpRequest, prelude::*, sessions::SignIn};

struct Everything {
    host: Host,
}

impl Plugin for Everything {
    fn create(host: Host) -> Result<Everything> {
        Ok(Everything { host })
    }

    fn register(registry: &mut Registry<Everything>) {
        registry.get("/api/things/special", Everything::special);
        registry.get("/api/things/{id}", Everything::echo);
        registry.get("/api/things/{id}/{*rest}", Everything::echo);
        registry.post("/api/things", Everything::length).stream_body().body_bytes_max(5000);
        registry.get("/api/admin/things", Everything::special).auth(Auth::Admin);
        registry.before("thing.make", Some("mine"), 2, Everything::second);
        registry.before("thing.make", None, 1, Everything::first);
        registry.after("thing.make", None, Everything::listen);
        registry.every(Duration::from_hours(1), "tick", Everything::tick);
        registry.command("say", Everything::say);
        registry.service("echo", 1, Everything::serve);
        registry.post("/api/things/enter", Everything::enter);
        registry.post("/api/things/fetch", Everything::fetch);
    }

    async fn start(self: Arc<Self>) -> Result<()> {
        let host = self.host.clone();
        self.host.spawn(async move {
            while host.sleep(Duration::from_mins(10)).await.is_ok() {
                let _ = host.topic("thing.slept").and_then(|topic| topic.after("", &json!(null)));
            }
        })
    }
}

impl Everything {
    async fn special(self: Arc<Self>, _request: Request) -> Result<Response> {
        Ok(Response::json_bytes("{}").with_header("x-special", "yes"))
    }

    async fn echo(self: Arc<Self>, request: Request) -> Result<Response> {
        let text = format!("{}|{}", request.param(0), request.param(1));
        Ok(Response::bytes("text/plain", text.into_bytes()))
    }

    async fn enter(self: Arc<Self>, request: Request) -> Result<Response> {
        let email: String = request.json()?;
        let who = SignIn::by_email(&email, "code").from(&request);
        let who = if email.starts_with("new") { who.or_register() } else { who };
        Response::json(&self.host.sign_in(&who).await?)
    }

    async fn fetch(self: Arc<Self>, request: Request) -> Result<Response> {
        let url: String = request.json()?;
        let asked = HttpRequest::post(url).with_header("X-Asked", "1").with_json(&json!({"a": 1}))?;
        let answer = self.host.http()?.send(&asked.with_timeout(Duration::from_secs(3))).await?;
        let kind = answer.header("content-type").unwrap_or_default();
        Response::json(&json!([answer.status(), kind, answer.json::<Json>()?]))
    }

    async fn length(self: Arc<Self>, mut request: Request) -> Result<Response> {
        let mut parts = Vec::new();
        while let Some(chunk) = request.next_chunk().await? {
            parts.push(chunk.len());
        }
        Response::json(&parts)
    }

    async fn first(self: Arc<Self>, event: Event) -> Result<HookOutcome> {
        if event.payload["bad"] == true {
            return Err(Error::bad_request("bad_thing", "no bad things"));
        }
        Ok(HookOutcome::accept().with_payload(json!({"by": ["first"]})))
    }

    async fn second(self: Arc<Self>, event: Event) -> Result<HookOutcome> {
        let mut payload = event.payload;
        payload["by"].as_array_mut().expect("first ran before").push(json!("second"));
        let mut batch = Batch::default();
        batch.push("INSERT INTO everything_things VALUES (?1)", params![payload.to_string()]);
        batch.append(self.host.audit()?.entry(&Entry::new("second", "thing", event.subject)).await?)?;
        Ok(HookOutcome::accept().with_payload(payload).with_statements(batch))
    }

    async fn listen(self: Arc<Self>, event: Event) -> Result<()> {
        let database = self.host.database()?;
        let mut transaction = database.begin(Duration::from_secs(1)).await?;
        let beside = database.execute("DELETE FROM everything_things", &[]).await;
        assert_eq!(beside.map_err(|error| error.code().to_owned()), Err("db_busy".to_owned()));
        let mut batch = Batch::default();
        batch.push("INSERT INTO everything_things VALUES (?1)", params![event.subject]);
        transaction.apply(batch).await?;
        transaction.commit().await
    }

    async fn tick(self: Arc<Self>) -> Result<()> {
        self.host.call("mail", 1, "send", &json!({"to": "x"})).await.map(|_| ())
    }

    async fn say(self: Arc<Self>, arguments: Arguments, console: Console) -> Result<u32> {
        console.line(arguments.required("what")?);
        console.error_line(arguments.text("tone").unwrap_or_default());
        Ok(3)
    }

    async fn serve(self: Arc<Self>, method: String, payload: Json) -> Result<Json> {
        let user = self.host.authenticate("token-u1").await?;
        Ok(json!([method, payload, user.email]))
    }
}

const MANIFEST: &str = r#"
name = "everything"
capabilities = ["audit", "database", "events", "http", "identity", "services", "sessions"]
routes = ["/api/things", "/api/admin/things"]
offers = ["echo@1"]
uses = ["mail@1"]
[[commands]]
name = "say"
[[commands.arguments]]
name = "what"
required = true
[[commands.arguments]]
name = "tone"
default = "loud"
values = ["loud", "soft"]
"#;

fn folder(manifest: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let migrations = migrations(&folder);
    fs::create_dir_all(&migrations).unwrap();
    fs::write(folder.path().join("extension.toml"), manifest).unwrap();
    fs::write(migrations.join("0001_x.up.sql"), "CREATE TABLE everything_things (x TEXT);").unwrap();
    fs::write(migrations.join("0001_x.down.sql"), "DROP TABLE everything_things;").unwrap();
    folder
}

/// Returns the folder of the migrations for this run's engine.
fn migrations(folder: &TempDir) -> PathBuf {
    folder.path().join("migrations").join(TestEngine::of_environment().folder())
}

fn started() -> TestHost<Everything> {
    TestHost::start(folder(MANIFEST).path())
}

fn refusal(folder: &Path) -> String {
    match TestHost::<Everything>::try_start(folder, json!({})) {
        Ok(_) => panic!("it starts"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn the_most_literal_route_answers_and_params_are_decoded() {
    let host = started();
    assert_eq!(host.get("/api/things/special").send().header("x-special"), Some("yes"));
    assert_eq!(host.get("/api/things/a%2Fb").send().body(), b"a/b|");
    assert_eq!(host.get("/api/things/a/b/c?q=1").send().body(), b"a|b/c");
    assert_eq!(host.get("/api/other").send().status(), 404);
    assert_eq!(host.request("PUT", "/api/things/7").send().status(), 405);
    assert_eq!(host.post("/api/things").body(vec![0; 2500]).send().json(), json!([1024, 1024, 452]));
    assert_eq!(host.post("/api/things").body(vec![0; 5001]).send().status(), 413);
}

#[test]
fn who_may_call_is_checked_first() {
    let host = started();
    host.add_user("root", "root@x.y", true);
    let get = || host.get("/api/admin/things");
    assert_eq!((get().send().status(), get().user("u").send().status()), (401, 403));
    assert_eq!((get().admin().send().status(), get().user("root").send().status()), (200, 200));
}

#[test]
fn a_verified_user_is_signed_in() {
    let host = started();
    host.add_user("u1", "a@b.c", false);
    let enter = |email: &str| host.post("/api/things/enter").json(&json!(email)).send();
    assert_eq!(enter("a@b.c").json()["access_token"], "token-u1");
    assert_eq!((enter("x@b.c").status(), enter("x@b.c").code().as_str()), (401, "sign_in_refused"));
    assert_eq!(enter("new@b.c").json()["email"], "new@b.c");
}

#[test]
fn other_servers_answer_what_the_test_says() {
    let host = started();
    let fetch = |url: &str| host.post("/api/things/fetch").json(&json!(url)).send();
    assert_eq!((fetch("http://a/").status(), fetch("http://a/").code().as_str()), (502, "http_failed"));
    host.serve_http(|request| match request.url() {
        "http://slow/" => Err(Error::new(504, "http_timeout", "too slow").retryable()),
        _ => Ok(HttpResponse::new(418).with_header("Content-Type", "x/y").with_body(request.body())),
    });
    assert_eq!(fetch("http://b/").json(), json!([418, "x/y", {"a": 1}]));
    assert_eq!(fetch("http://slow/").code(), "http_timeout");
    let sent = host.http_requests();
    let urls: Vec<_> = sent.iter().map(|request| request.url()).collect();
    assert_eq!(urls, ["http://a/", "http://a/", "http://b/", "http://slow/"]);
    assert_eq!(
        (sent[2].method(), sent[2].header("x-asked"), sent[2].timeout()),
        ("POST", Some("1"), Some(Duration::from_secs(3)))
    );
}

#[test]
fn hooks_run_in_order_and_their_statements_commit() {
    let host = started();
    assert_eq!(host.emit("thing.make", "mine", &json!({})).unwrap(), json!({"by": ["first", "second"]}));
    assert_eq!(host.emit("thing.make", "other", &json!({})).unwrap(), json!({"by": ["first"]}));
    assert_eq!(host.emit("thing.make", "mine", &json!({"bad": true})).unwrap_err().code(), "bad_thing");
    let rows = host.query("SELECT x FROM everything_things ORDER BY length(x) DESC, x", &[]).unwrap();
    let rows: Vec<_> = rows.into_iter().flatten().collect();
    assert_eq!(rows, [r#"{"by":["first","second"]}"#, "other", "mine"].map(Value::from));
    let entry = AuditEntry {
        action: "everything.second".to_owned(),
        target_kind: "thing".to_owned(),
        target_id: "mine".to_owned(),
        change: json!({}),
        request: None,
    };
    assert_eq!(host.audited(), [entry]);
}

#[test]
fn time_passes_as_the_test_wants() {
    let host = started();
    host.advance(Duration::from_mins(35));
    assert_eq!(host.emitted().len(), 3);
}

#[test]
fn commands_jobs_and_services_are_called() {
    let host = started();
    let said = host.command("say", &json!({"what": "hi"})).unwrap();
    assert_eq!(said, CommandOutcome { exit_code: 3, out: vec!["hi".into()], errors: vec!["loud".into()] });
    for arguments in [json!({}), json!({"what": "x", "tone": "odd"}), json!({"what": "x", "who": "y"})] {
        assert_eq!(host.command("say", &arguments).unwrap_err().code(), "invalid_arguments", "{arguments}");
    }
    assert_eq!(host.job("tick").unwrap_err().code(), "service_missing");
    host.offer("mail", 1, |method, payload| Ok(json!([method, payload])));
    host.job("tick").unwrap();
    assert_eq!(host.call("echo", 1, "m", &json!(1)).unwrap_err().status(), 401);
    host.add_user("u1", "a@b.c", false);
    assert_eq!(host.call("echo", 1, "m", &json!(1)).unwrap(), json!(["m", 1, "a@b.c"]));
    host.shut_down();
}

#[test]
fn what_the_manifest_does_not_declare_is_refused_by_name() {
    for (missing, with, named) in [
        (r#""/api/things", "#, "", "GET /api/things/special"),
        (r#"offers = ["echo@1"]"#, "", "echo@1"),
        (r#"name = "say""#, r#"name = "shout""#, "shout"),
        (r#""events", "#, "", ""),
    ] {
        let manifest = MANIFEST.replace(missing, with);
        assert_ne!(manifest, MANIFEST);
        if named.is_empty() {
            let host = TestHost::<Everything>::start(folder(&manifest).path());
            host.advance(Duration::from_mins(35));
            assert_eq!(host.emitted().len(), 0, "events are not granted");
        } else {
            let refusal = refusal(folder(&manifest).path());
            assert!(refusal.contains(named), "{refusal}");
        }
    }
}

#[test]
fn a_migration_that_fails_either_way_is_named() {
    let broken = folder(MANIFEST);
    let up = migrations(&broken).join("0001_x.up.sql");
    let down = migrations(&broken).join("0001_x.down.sql");
    fs::write(&down, "DROP TABLE everything_other;").unwrap();
    assert!(refusal(broken.path()).contains("0001_x.down.sql"));
    fs::write(&up, "CREATE TABLE tb_users (x);").unwrap();
    assert!(refusal(broken.path()).contains("0001_x.up.sql"));
    fs::remove_file(&down).unwrap();
    assert!(refusal(broken.path()).contains("needs its .down.sql"));
}

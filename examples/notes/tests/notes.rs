//! The extension on a test host: real SQL and migrations, no server.

use tinybase_notes::Notes;
use tinybase_plugin_api::{prelude::*, testkit::TestHost};

fn host() -> TestHost<Notes> {
    TestHost::start(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_user_sees_their_own_notes_alone() {
    let host = host();
    let created = host.post("/api/notes").user("ada").json(&json!({"text": "buy milk"})).send();
    assert_eq!(created.status(), 201);
    assert_eq!(host.get("/api/notes").user("ada").send().json()["notes"][0]["text"], "buy milk");
    assert_eq!(host.get("/api/notes").user("bob").send().json(), json!({"notes": []}));
    assert_eq!(host.get("/api/notes").send().status(), 401);

    let note = format!("/api/notes/{}", created.json()["id"]);
    assert_eq!(host.request("DELETE", &note).user("bob").send().code(), "note_not_found");
    assert_eq!(host.request("DELETE", &note).user("ada").send().status(), 204);
}

#[test]
fn the_limit_is_a_setting() {
    let host = host();
    host.set_settings(json!({"notes_max": 1})).unwrap();
    let add = || host.post("/api/notes").user("ada").json(&json!({"text": "x"})).send();
    assert_eq!((add().status(), add().code().as_str()), (201, "too_many_notes"));
    assert_eq!(host.command("count", &json!({})).unwrap().out, ["1 notes"]);
}

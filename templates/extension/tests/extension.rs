//! Tests of the extension on a test host: real SQL and migrations, no server.

use tinybase_{{name}}::{{Type}};
use tinybase_plugin_api::{prelude::*, testkit::TestHost};

#[test]
fn a_visit_is_greeted_and_kept() {
    let host = TestHost::<{{Type}}>::start(env!("CARGO_MANIFEST_DIR"));
    host.set_settings(json!({"greeting": "Welcome"})).unwrap();
    let visit = |name: &str| host.post("/api/{{name}}").user("ada").json(&json!({"name": name})).send();
    let greeted = visit("Ada");
    assert_eq!((greeted.status(), greeted.json()), (201, json!({"message": "Welcome, Ada!"})));
    assert_eq!(visit(" ").code(), "name_invalid");
    assert_eq!(host.get("/api/{{name}}").user("ada").send().json()["visits"][0]["name"], "Ada");
    assert_eq!(host.get("/api/{{name}}").send().status(), 401);
}

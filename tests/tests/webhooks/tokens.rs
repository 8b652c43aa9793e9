//! A hook is inactive while the application token that created it is invalid for any reason, and its list entry says
//! so.

use serde_json::{Value as Json, json};

use super::{Receiver, add, prepare, settle, site, told};

#[test]
fn a_hook_ends_with_its_token_and_says_so() {
    let site = site();
    let server = site.serve();
    let admin = server.admin();
    prepare(&admin);
    let all = Receiver::start();
    add(&admin, &all);
    let make = |name: &str| {
        let scopes = json!(["admin:webhooks:write", "collections:read:posts"]);
        let body = json!({"name": name, "scopes": scopes});
        let token = admin.post("/api/admin/application-tokens", &body).expect(201);
        let client = server.client().with_token(token["token_value"].as_str().unwrap());
        let receiver = Receiver::start();
        let hook = add(&client, &receiver);
        let id = token["token"]["id"].as_str().unwrap().to_owned();
        assert_eq!(hook["owner_token_ids"], json!([id]), "{hook}");
        (id, hook["id"].as_str().unwrap().to_owned(), receiver)
    };
    let hooks = ["stays", "deleted", "off", "narrowed", "expired", "unknown"].map(make);
    settle(&all, &admin, &admin);
    hooks.iter().for_each(|(_, _, receiver)| assert_eq!(told(receiver, "posts").len(), 1));

    let path = |at: usize| format!("/api/admin/application-tokens/{}", hooks[at].0);
    assert_eq!(admin.delete(&path(1)).status, 204);
    admin.patch(&path(2), &json!({"is_active": false})).expect(200);
    admin.patch(&path(3), &json!({"scopes": ["admin:webhooks:write"]})).expect(200);
    site.sql(&format!(
        "UPDATE tb_application_tokens SET expires_at = '2026-01-01T00:00:00.000000Z' WHERE id = '{}'",
        hooks[4].0
    ));
    site.sql(&format!("UPDATE webhooks_hooks SET owner_token_ids = NULL WHERE id = '{}'", hooks[5].1));
    settle(&all, &admin, &admin);
    let told_now: Vec<usize> = hooks.iter().map(|(_, _, receiver)| told(receiver, "posts").len()).collect();
    assert_eq!(told_now, [2, 1, 1, 1, 1, 1]);

    let listed = admin.get("/api/webhooks").expect(200);
    let shown = |id: &str| -> Json {
        let mut hooks = listed["hooks"].as_array().unwrap().iter();
        hooks.find(|hook| hook["id"] == id).unwrap().clone()
    };
    for (at, (_, id, _)) in hooks.iter().enumerate() {
        let hook = shown(id);
        // A hook whose token may read nothing still stays active.
        let stands = matches!(at, 0 | 3);
        assert_eq!(
            (&hook["is_active"], hook["inactive_reason"].is_null()),
            (&json!(stands), stands),
            "{hook}"
        );
        let test = admin.post(&format!("/api/webhooks/{id}/test"), &json!({}));
        assert_eq!(test.status, if stands { 202 } else { 409 }, "{hook}");
    }
    // A token that is enabled again reactivates its hooks.
    admin.patch(&path(2), &json!({"is_active": true})).expect(200);
    settle(&all, &admin, &admin);
    assert_eq!(told(&hooks[2].2, "posts").len(), 2);
}

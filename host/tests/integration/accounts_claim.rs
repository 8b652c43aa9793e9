//! Tests who becomes the first user: with everything that a stranger could send, on one node and on two.

use crate::support::accounts::{Host, PASSWORD, host, word};
use axum::body::Body;
use http::{Request, header};
use serde_json::{Value as Json, json};
use tinybase_host::{
    accounts::{Client, ExternalIdentity, Subject},
    audit::ActorKind,
};

/// Logs in from `peer` to the host name `name`, with `more` as a further header and `token` as the setup token.
async fn login(host: &Host, peer: &str, name: &str, more: (&str, &str), token: Option<&str>) -> (u16, Json) {
    let mut body = json!({"email": "eve@example.org", "password": PASSWORD});
    if let Some(token) = token {
        body["setup_token"] = json!(token);
    }
    let mut request = Request::post("/api/auth/login")
        .header(header::HOST, name)
        .header(header::CONTENT_TYPE, "application/json")
        .extension(host.origin(peer));
    if !more.0.is_empty() {
        request = request.header(more.0, more.1);
    }
    host.send(request.body(Body::from(body.to_string())).unwrap()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_registers_before_there_is_an_administrator() {
    let host = host().await;
    let body = json!({"email": "eve@example.org", "password": PASSWORD}).to_string();
    let (status, answer) = host.call("POST /api/auth/register", None, &body).await;
    assert_eq!((status, word(&answer, "code").as_str()), (403, "setup_needed"));
    assert!(word(&answer, "detail").contains("disabled"), "{answer}");
    let told = ExternalIdentity {
        who: Subject::Email("eve@example.org".into()),
        create: true,
        method: "door:code".into(),
        client: Client::local(ActorKind::Extension, "door"),
    };
    assert_eq!(host.accounts.sign_in_external(told).await.unwrap_err().code, "setup_needed");
    let email = json!({"email": "eve@example.org"}).to_string();
    for path in ["password-reset/request", "login-link/request"] {
        let (status, _) = host.call(&format!("POST /api/auth/{path}"), None, &email).await;
        assert_eq!(status, 200, "{path}");
    }
    assert_eq!(host.count("tb_users").await, 0);
    let (_, owner) = host.login("root@example.org").await;
    assert_eq!((&owner["is_admin"], &owner["admin_created"]), (&json!(true), &json!(true)));
    assert_eq!(host.call("POST /api/auth/register", None, &body).await.0, 201);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_login_from_elsewhere_needs_the_setup_token() {
    let host = host().await;
    for (peer, name, more) in [
        ("203.0.113.9", "api.example.org", ("", "")),
        ("203.0.113.9", "localhost", ("", "")),
        ("203.0.113.9", "localhost", ("x-forwarded-for", "127.0.0.1")),
        ("127.0.0.1", "rebound.example", ("", "")),
        ("127.0.0.1", "localhost", ("origin", "https://evil.example")),
        ("127.0.0.1", "127.0.0.1:8000", ("x-forwarded-for", "203.0.113.9")),
    ] {
        for (token, code) in [(None, "setup_token_required"), (Some("tbs_guessed"), "setup_token_invalid")] {
            let (status, answer) = login(&host, peer, name, more, token).await;
            assert_eq!((status, word(&answer, "code").as_str()), (403, code), "{peer} {name} {more:?}");
        }
    }
    assert_eq!(login(&host, "127.0.0.1", "localhost", ("", ""), Some("tbs_wrong")).await.0, 403);
    assert_eq!(host.count("tb_users").await, 0);
    let status = host.accounts.setup_status(&Client::local(ActorKind::Nobody, "")).await.unwrap();
    assert!(status.needs_setup && status.setup_token_required);

    let token = host.accounts.open_setup_token().await.unwrap().unwrap();
    assert_eq!(token, host.another_node().await.accounts.open_setup_token().await.unwrap().unwrap());
    let (status, answer) =
        login(&host, "203.0.113.9", "api.example.org", ("", ""), Some(token.reveal())).await;
    assert_eq!((status, &answer["admin_created"]), (200, &json!(true)), "{answer}");
    assert_eq!(host.accounts.open_setup_token().await.unwrap(), None);
    // The token is no longer useful, but is accepted.
    let (status, answer) =
        login(&host, "203.0.113.9", "api.example.org", ("", ""), Some(token.reveal())).await;
    assert_eq!((status, &answer["admin_created"]), (200, &json!(false)), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_claims_on_two_nodes_one_wins() {
    let host = host().await;
    let node = host.another_node().await;
    let (one, other) = tokio::join!(host.login("ada@example.org"), node.login("eve@example.org"));
    let mut statuses = [one.0, other.0];
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 401]);
    assert_eq!((host.count("tb_users").await, host.count("tb_users WHERE role = 'admin'").await), (1, 1));
}

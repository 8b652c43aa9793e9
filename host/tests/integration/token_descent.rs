//! Tests application tokens that were created by application tokens: they end with them, and have no more rights.

use crate::support::accounts::{Host, host};
use crate::support::db::apply;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::Expect;
use tinybase_host::{
    accounts::{NewToken, TokenAnswer, TokenChange, TokenCreated},
    audit::{Actor, ActorKind},
    error::ApiError,
    http::{etag::IfMatch, extract::read_json},
};

/// Creates an application token as the caller whose token is `by`.
async fn made(host: &Host, by: &str, asked: Json) -> Result<TokenCreated, ApiError> {
    let caller = host.accounts.authenticate(by).await?;
    let new: NewToken = read_json(asked.to_string().as_bytes())?;
    host.accounts.create_application_token(&caller, &Actor::of_request(Some(&caller), None), new).await
}

async fn changed(host: &Host, by: &str, id: &str, change: Json) -> Result<TokenAnswer, ApiError> {
    let caller = host.accounts.authenticate(by).await?;
    let change: TokenChange = read_json(change.to_string().as_bytes())?;
    host.accounts
        .update_application_token(
            &caller,
            &Actor::of_request(Some(&caller), None),
            id,
            &IfMatch::default(),
            change,
        )
        .await
}

/// Returns an administrator's access token, a token created with it, a token created with that one, and so on, each
/// with its value.
async fn line_of(host: &Host, count: usize) -> (String, Vec<TokenCreated>) {
    let (admin, _) = host.session("root@example.org").await;
    let mut line: Vec<TokenCreated> = Vec::new();
    for number in 0..count {
        let by = line.last().map_or(admin.as_str(), |last| last.token_value.as_str());
        let asked = json!({"name": format!("t{number}"), "scopes": ["a", "b:read", "admin:*"]});
        line.push(made(host, by, asked).await.unwrap());
    }
    (admin, line)
}

async fn codes(host: &Host, line: &[TokenCreated]) -> Vec<String> {
    let mut codes = Vec::new();
    for token in line {
        let known = host.accounts.authenticate(&token.token_value).await;
        codes.push(known.map_or_else(|error| error.code.into_owned(), |_| "ok".into()));
    }
    codes
}

#[tokio::test(flavor = "multi_thread")]
async fn a_child_lives_no_longer_than_what_made_it() {
    let host = host().await;
    let (admin, _) = host.session("root@example.org").await;
    let asked = |days: Json| json!({"name": "t", "scopes": ["*"], "expires_days": days});
    let parent = made(&host, &admin, asked(json!(5))).await.unwrap();
    assert_eq!(parent.token.parent_id, None);
    for (days, is_capped) in [(Json::Null, true), (json!(6), true), (json!(2), false)] {
        let child = made(&host, &parent.token_value, asked(days.clone())).await.unwrap();
        assert_eq!(child.token.expires_at == parent.token.expires_at, is_capped, "{days}");
        assert!(child.token.expires_at <= parent.token.expires_at && child.token.expires_at.is_some());
        assert_eq!(child.token.parent_id.as_ref(), Some(&parent.token.id));
    }
    let own = made(&host, &admin, asked(Json::Null)).await.unwrap();
    assert_eq!(own.token.expires_at, None, "a person's token has no end of its own accord");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_switched_off_or_deleted_takes_along_what_it_made() {
    let host = host().await;
    let (admin, line) = line_of(&host, 4).await;
    assert_eq!(codes(&host, &line).await, ["ok"; 4]);
    let second = &line[1].token.id;
    assert!(!changed(&host, &admin, second, json!({"is_active": false})).await.unwrap().is_active);
    assert_eq!(codes(&host, &line).await, ["ok", "token_revoked", "token_revoked", "token_revoked"]);
    let below = host.accounts.application_token(&line[3].token.id).await.unwrap();
    assert!(!below.is_active && !below.is_valid);
    // No token can be reactivated before the one that created it; and it is not reactivated automatically.
    let fault = changed(&host, &admin, &line[2].token.id, json!({"is_active": true})).await.unwrap_err();
    assert_eq!((fault.status.as_u16(), &*fault.code), (409, "application_token_parent_ended"));
    changed(&host, &admin, second, json!({"is_active": true})).await.unwrap();
    assert_eq!(codes(&host, &line).await, ["ok", "ok", "token_revoked", "token_revoked"]);
    changed(&host, &admin, &line[2].token.id, json!({"is_active": true})).await.unwrap();
    assert_eq!(codes(&host, &line).await, ["ok", "ok", "ok", "token_revoked"]);

    let actor = Actor::local(ActorKind::System, "test");
    host.accounts.delete_application_token(&actor, &line[0].token.id, &IfMatch::default()).await.unwrap();
    assert_eq!(codes(&host, &line).await, ["token_invalid"; 4]);
    assert_eq!(host.count("tb_application_tokens").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_reaches_less_far_takes_along_what_it_made() {
    let host = host().await;
    let (admin, line) = line_of(&host, 3).await;
    let beyond = json!({"name": "t", "scopes": ["b"]});
    assert_eq!(made(&host, &line[0].token_value, beyond).await.unwrap_err().code, "scope_missing");
    let last = &line[2].token.id;
    let fault = changed(&host, &admin, last, json!({"scopes": ["a", "c"]})).await.unwrap_err();
    assert_eq!(fault.code, "scope_missing", "a person gave a child more than its parent has");
    changed(&host, &admin, &line[0].token.id, json!({"scopes": ["a:read", "admin"]})).await.unwrap();
    for token in &line[1..] {
        let now = host.accounts.application_token(&token.token.id).await.unwrap();
        assert_eq!(now.scopes, ["admin:*", "a:read"]);
        let caller = host.accounts.authenticate(&token.token_value).await.unwrap();
        let scopes = caller.scopes.as_ref().unwrap();
        assert!(scopes.covers("a:read") && !scopes.covers("a:write") && !scopes.covers("b:read"));
    }
    changed(&host, &admin, &line[0].token.id, json!({"scopes": ["z"]})).await.unwrap();
    assert!(host.accounts.application_token(last).await.unwrap().scopes.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_locked_or_demoted_user_takes_every_token_along() {
    let host = host().await;
    let (_, line) = line_of(&host, 2).await;
    let user = |set: &str| format!("UPDATE tb_users SET {set}");
    apply(&host.fresh.db, &[(&user("role = 'viewer'"), &[], Expect::Exactly(1))]).await.unwrap();
    host.accounts.user_changed(&line[0].token.user_id);
    for token in &line {
        let caller = host.accounts.authenticate(&token.token_value).await.unwrap();
        assert_eq!(caller.role.name(), "viewer");
    }
    apply(&host.fresh.db, &[(&user("is_active = 0"), &[], Expect::Exactly(1))]).await.unwrap();
    host.accounts.user_changed(&line[0].token.user_id);
    assert_eq!(codes(&host, &line).await, ["token_revoked"; 2]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_makes_no_other_while_it_ends_and_none_too_far_below() {
    let host = host().await;
    let (admin, line) = line_of(&host, 8).await;
    let last = made(&host, &line[7].token_value, json!({"name": "t", "scopes": ["a"]})).await.unwrap_err();
    assert_eq!((last.status.as_u16(), &*last.code), (403, "application_token_depth"));
    // Whichever comes first, no token that the parent created stays active.
    let parent = &line[0];
    let making = async { made(&host, &parent.token_value, json!({"name": "late", "scopes": ["a"]})).await };
    let ending = changed(&host, &admin, &parent.token.id, json!({"is_active": false}));
    let (late, ended) = tokio::join!(making, ending);
    ended.unwrap();
    if let Ok(late) = late {
        assert_eq!(codes(&host, &[late]).await, ["token_revoked"]);
    }
    assert_eq!(host.count("tb_application_tokens WHERE is_active = 1").await, 0);
}

//! Tests refresh tokens that are used again: shortly afterwards they return the same pair, and much later they end
//! their session; on two nodes of one database as on one.

use crate::support::accounts::{Host, host, host_with, word};
use crate::support::db::apply;
use futures_util::future::join_all;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::Expect;

/// Sets the time of use of all used tokens into the past.
async fn a_minute_passes(host: &Host) {
    let past =
        "UPDATE tb_refresh_tokens SET used_at = '2020-01-01T00:00:00.000000Z' WHERE used_at IS NOT NULL";
    apply(&host.fresh.db, &[(past, &[], Expect::Any)]).await.unwrap();
}

fn tokens(answer: &Json) -> (String, String) {
    (word(answer, "access_token"), word(answer, "refresh_token"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_comes_back_at_once_gets_the_same_pair() {
    let host = host().await;
    let (_, first) = host.session("ada@example.org").await;
    let (status, answer) = host.refresh(&first).await;
    assert_eq!((status, &answer["admin_created"]), (200, &json!(false)));
    let (access, second) = tokens(&answer);
    assert_ne!(first, second);
    let (status, again) = host.refresh(&first).await;
    assert_eq!((status, tokens(&again)), (200, (access.clone(), second.clone())));
    assert_eq!(host.me(&access).await, 200);
    assert_eq!(host.count("tb_refresh_tokens").await, 2, "a repeated refresh made a further token");
    let (status, next) = host.refresh(&second).await;
    assert_eq!(status, 200, "{next}");
    assert_ne!(tokens(&next).1, second);
    assert_eq!(host.count("tb_audit_log WHERE action = 'session.reuse'").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_many_refreshes_at_once_all_get_one_pair() {
    let host = host().await;
    let (_, token) = host.session("ada@example.org").await;
    let answers = join_all((0..8).map(|_| host.refresh(&token))).await;
    let pairs = answers.iter().map(|(status, answer)| (*status, tokens(answer))).collect::<Vec<_>>();
    assert!(pairs.iter().all(|pair| pair.0 == 200 && *pair == pairs[0]), "{pairs:?}");
    assert_eq!((host.me(&pairs[0].1.0).await, host.refresh(&pairs[0].1.1).await.0), (200, 200));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_comes_back_later_ends_its_session_and_no_other() {
    let host = host().await;
    let (_, first) = host.session("ada@example.org").await;
    let (_, other_session) = host.session("ada@example.org").await;
    let (access, second) = tokens(&host.refresh(&first).await.1);
    a_minute_passes(&host).await;
    let (status, answer) = host.refresh(&first).await;
    assert_eq!((status, word(&answer, "code").as_str()), (401, "refresh_token_invalid"));
    assert_eq!(host.refresh(&second).await.0, 401, "the session outlived a reuse");
    assert_eq!(host.me(&access).await, 401, "an access token outlived its session");
    assert_eq!(host.refresh(&other_session).await.0, 200, "another login was ended too");
    assert_eq!(host.count("tb_audit_log WHERE action = 'session.reuse'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_interval_each_token_works_once() {
    let host = host_with(|config| config.refresh_reuse_interval_seconds = 0).await;
    let (_, token) = host.session("ada@example.org").await;
    let answers = join_all((0..8).map(|_| host.refresh(&token))).await;
    let succeeded = answers.iter().filter(|(status, _)| *status == 200).count();
    assert_eq!(succeeded, 1, "{answers:?}");
    assert!(answers.iter().all(|(status, _)| [200, 401].contains(status)), "{answers:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_ended_gives_no_pair_again() {
    let host = host().await;
    let (access, first) = host.session("ada@example.org").await;
    assert_eq!(host.refresh(&first).await.0, 200);
    assert_eq!(host.call("POST /api/auth/logout", Some(&access), "").await.0, 200);
    assert_eq!(host.refresh(&first).await.0, 401);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_node_gives_the_same_pair() {
    let host = host().await;
    let (_, first) = host.session("ada@example.org").await;
    let node = host.another_node().await;
    let ((_, one), (_, other)) = tokio::join!(host.refresh(&first), node.refresh(&first));
    assert_eq!(tokens(&one), tokens(&other));
    assert_eq!(tokens(&node.refresh(&first).await.1), tokens(&one));
}

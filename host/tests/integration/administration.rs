//! Tests concurrent administration of users, where both requests pass their checks before either writes: the statements
//! themselves must enforce the rules.

use std::sync::Arc;

use crate::support::accounts::host;
use futures_util::future::BoxFuture;
use tinybase_abi::codec::BatchWriter;
use tinybase_host::{
    accounts::{AccountEvent, AccountEvents, Accounts, Caller, Role, UserChange, UserSort, UsersAsked},
    audit::{Actor, ActorKind},
    error::ApiError,
    http::{etag::IfMatch, extract::read_json, query::Page},
};
use tokio::sync::Barrier;

/// A listener that blocks a change of a user until two are in progress.
#[derive(Debug)]
struct Meet(Barrier);

impl AccountEvents for Meet {
    fn before<'a>(
        &'a self,
        event: &'a AccountEvent,
        _batch: &'a mut BatchWriter,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        Box::pin(async move {
            if ["user.update", "user.delete"].contains(&event.name) {
                self.0.wait().await;
            }
            Ok(())
        })
    }

    fn after(&self, _event: AccountEvent) {}
}

fn actor() -> Actor {
    Actor::local(ActorKind::System, "")
}

/// Creates an admin, who is the caller.
async fn admin(accounts: &Accounts, email: &str) -> Caller {
    accounts.add_admin(email, "correct horse battery".into(), &actor()).await.unwrap();
    let asked = UsersAsked {
        search: Some(email.into()),
        role: None,
        is_active: None,
        sort: UserSort::default(),
        page: Page { limit: 1, offset: 0 },
    };
    let user_id = accounts.list_users(&asked).await.unwrap().users.remove(0).id;
    let (email, role) = (email.to_owned(), Role::Admin);
    Caller { user_id, email, role, epoch: 0, session_id: None, token_id: None, scopes: None }
}

/// Checks the outcome for `ada` and `bob`, the only admins, if each does this to the other concurrently.
async fn at_once(body: Option<&str>) {
    let host = host().await;
    let (ada, bob) = (admin(&host.accounts, "ada@x.org").await, admin(&host.accounts, "bob@x.org").await);
    host.accounts.set_events(Arc::new(Meet(Barrier::new(2))));
    let act = async |caller: &Caller, other: &Caller| match body {
        Some(body) => {
            let change = read_json::<UserChange>(body.as_bytes()).unwrap();
            host.accounts
                .update_user(caller, &actor(), &other.user_id, &IfMatch::default(), change)
                .await
                .map(drop)
        }
        None => host.accounts.delete_user(caller, &actor(), &other.user_id, &IfMatch::default()).await,
    };
    let outcomes: [Result<(), ApiError>; 2] = tokio::join!(act(&ada, &bob), act(&bob, &ada)).into();
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    assert_eq!(refused.len(), 1, "{body:?}: {outcomes:?}");
    assert_eq!(refused[0].code, "last_admin", "{body:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_last_admins_who_end_each_other_one_stays() {
    for body in [Some(r#"{"role": "user"}"#), Some(r#"{"is_active": false}"#), None] {
        at_once(body).await;
    }
}

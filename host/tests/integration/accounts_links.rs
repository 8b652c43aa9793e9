//! Tests mailed links through their routes and a real database, with mailers that the test controls: slow ones, hooks
//! that refuse, and what the sign-in pages show.

use std::sync::Arc;

use crate::support::accounts::{Host, host, word};
use crate::support::db::apply;
use futures_util::future::BoxFuture;
use http::StatusCode;
use parking_lot::Mutex;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::{BatchWriter, Expect};
use tinybase_host::{
    accounts::{AccountEvent, AccountEvents, Mail, Mailer},
    audit::{Actor, ActorKind},
    error::ApiError,
};
use tokio::sync::{Semaphore, mpsc};

const EMAIL: &str = "ada@example.org";
const NEW_PASSWORD: &str = "another horse";

/// Reports each mail, and accepts it only once the test allows it.
#[derive(Debug)]
struct Slow {
    told: mpsc::UnboundedSender<Json>,
    lets: Semaphore,
}

impl Mailer for Slow {
    fn is_there(&self) -> bool {
        true
    }

    fn send(&self, mail: Mail) -> BoxFuture<'_, Result<(), String>> {
        Box::pin(async move {
            self.told.send(mail.data).map_err(|_| "nobody_listens".to_owned())?;
            self.lets.acquire().await.map_err(|_| "closed".to_owned())?.forget();
            Ok(())
        })
    }
}

fn slow(host: &Host, lets: usize) -> (Arc<Slow>, mpsc::UnboundedReceiver<Json>) {
    let (told, mails) = mpsc::unbounded_channel();
    let mailer = Arc::new(Slow { told, lets: Semaphore::new(lets) });
    host.accounts.set_mailer(Arc::clone(&mailer) as _);
    (mailer, mails)
}

async fn request(host: &Host, email: &str) -> (u16, Json) {
    let body = json!({"email": email}).to_string();
    host.call("POST /api/auth/password-reset/request", None, &body).await
}

async fn reset(host: &Host, token: &str) -> (u16, Json) {
    let body = json!({"token": token, "password": NEW_PASSWORD}).to_string();
    host.call("POST /api/auth/password-reset/confirm", None, &body).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_mailer_delays_no_answer_and_too_many_mails_are_refused_for_everyone() {
    let host = host().await;
    host.session("root@example.org").await;
    let many = "INSERT INTO tb_users (id, email, password_hash, created_at, updated_at) \
        WITH RECURSIVE n (i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 99) \
        SELECT 'u' || i, 'user' || i || '@example.org', 'none', 'now', 'now' FROM n";
    apply(&host.fresh.db, &[(many, &[], Expect::Exactly(100))]).await.unwrap();
    let (mailer, mut mails) = slow(&host, 0);
    let mut users = 0;
    let refused = loop {
        assert!(users < 100, "no request is refused");
        let email = format!("user{users}@example.org");
        let (status, answer) = request(&host, &email).await;
        if status != 200 {
            break (status, answer);
        }
        // The mail is being sent, and the mailer has not accepted it yet.
        assert_eq!(mails.recv().await.unwrap()["email"], email);
        users += 1;
    };
    assert_eq!((users, refused.0, word(&refused.1, "code").as_str()), (64, 503, "mail_busy"));
    assert_eq!(request(&host, "nobody@example.org").await, refused);
    mailer.lets.add_permits(1000);
    while request(&host, "root@example.org").await.0 == 503 {
        tokio::task::yield_now().await;
    }
    assert_eq!(mails.recv().await.unwrap()["email"], "root@example.org");
}

/// Refuses updates until the test allows them.
#[derive(Debug, Default)]
struct Refusing {
    lets: Mutex<bool>,
}

impl AccountEvents for Refusing {
    fn before<'a>(
        &'a self,
        event: &'a AccountEvent,
        _batch: &'a mut BatchWriter,
    ) -> BoxFuture<'a, Result<(), ApiError>> {
        let refused = event.name == "user.update" && !*self.lets.lock();
        let refusal = ApiError::new(StatusCode::FORBIDDEN, "not_now", "not now");
        Box::pin(std::future::ready(if refused { Err(refusal) } else { Ok(()) }))
    }

    fn after(&self, _event: AccountEvent) {}
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_refuses_a_new_password_leaves_the_token_and_the_sessions() {
    let host = host().await;
    let hook = Arc::new(Refusing::default());
    host.accounts.set_events(Arc::clone(&hook) as _);
    let (session, _) = host.session(EMAIL).await;
    let (_mailer, mut mails) = slow(&host, 9);
    request(&host, EMAIL).await;
    let token = word(&mails.recv().await.unwrap(), "token");
    let (status, answer) = reset(&host, &token).await;
    assert_eq!((status, word(&answer, "code").as_str()), (403, "not_now"));
    assert_eq!((host.me(&session).await, host.login(EMAIL).await.0), (200, 200));
    *hook.lets.lock() = true;
    assert_eq!(reset(&host, &token).await.0, 200);
    assert_eq!((host.me(&session).await, host.login(EMAIL).await.0), (401, 401));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_password_by_an_operator_and_a_logout_end_what_was_mailed_before() {
    let host = host().await;
    let (session, _) = host.session(EMAIL).await;
    let (_mailer, mut mails) = slow(&host, 9);
    request(&host, EMAIL).await;
    let token = word(&mails.recv().await.unwrap(), "token");
    host.call("POST /api/auth/logout", Some(&session), "").await;
    assert_eq!(word(&reset(&host, &token).await.1, "code"), "link_invalid");
    request(&host, EMAIL).await;
    let token = word(&mails.recv().await.unwrap(), "token");
    let operator = Actor::local(ActorKind::Command, "test");
    host.accounts.add_admin(EMAIL, NEW_PASSWORD.into(), &operator).await.unwrap();
    assert_eq!(word(&reset(&host, &token).await.1, "code"), "link_invalid");
    assert_eq!(host.count("tb_one_time_tokens").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_show_the_settings_and_a_preview_what_is_tried_out() {
    let host = host().await;
    let (admin, _) = host.session(EMAIL).await;
    let settings = [
        ("auth_portal_logo_url", Some(json!("https://example.org/logo.png"))),
        ("auth_portal_primary_color", Some(json!("#123456"))),
        ("auth_portal_login_redirect_url", Some(json!("https://app.example.org/"))),
        ("allow_public_registration", Some(json!(false))),
        ("instance_name", Some(json!("Workshop"))),
    ];
    host.settings.set(&settings).await.unwrap();
    let stored = json!({
        "instance_name": "Workshop",
        "logo_url": "https://example.org/logo.png",
        "primary_color": "#123456",
        "background_image_url": null,
        "registration_enabled": false,
        "login_redirect_url": "https://app.example.org/",
        "register_redirect_url": null,
    });
    let path = "GET /api/auth/portal-config";
    assert_eq!(host.call(path, None, "").await, (200, stored.clone()));
    let tried = "?preview=true&logo_url=&background_image_url=https://example.org/wall.png&_other=1";
    let mut expected = stored;
    expected["logo_url"] = Json::Null;
    expected["background_image_url"] = json!("https://example.org/wall.png");
    assert_eq!(host.call(&format!("{path}{tried}"), Some(&admin), "").await, (200, expected));
}

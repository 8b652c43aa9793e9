//! Shared by the tests of accounts: accounts over a fresh database, called through their routes.

use std::sync::Arc;

use axum::{Router, body::Body};
use http::{Request, header};
use http_body_util::BodyExt;
use serde_json::{Value as Json, json};
use tinybase_abi::codec::Value;
use tinybase_host::{
    accounts::{Accounts, Client, Keys, LoginAnswer, LoginRequest, SignInAnswer, routes},
    audit::{Actor, ActorKind},
    clock::Clock,
    config,
    db::{Database, ReadHint, migrations::Migrator},
    error::ApiError,
    http::{Authenticate, HostRoutes, RequestId, RequestInfo, extract::read_json},
    secrets::Vault,
    settings::Settings,
    sql::HostSql,
};
use tower::ServiceExt;

use crate::support::db::{Fresh, query};

pub(crate) const PASSWORD: &str = "correct horse";

/// Accounts over a fresh database.
pub(crate) struct Host {
    pub(crate) fresh: Arc<Fresh>,
    pub(crate) accounts: Arc<Accounts>,
    pub(crate) settings: Arc<Settings>,
    /// The clock for waits.
    pub(crate) clock: Clock,
    routes: Router,
}

/// Returns accounts with the default configuration.
pub(crate) async fn host() -> Host {
    host_with(|_| {}).await
}

/// Returns accounts with a changed configuration.
pub(crate) async fn host_with(choose: impl FnOnce(&mut config::Auth)) -> Host {
    let fresh = Fresh::open().await;
    Migrator::of_host(&*fresh.db).upgrade(None).await.unwrap();
    let mut config = config::Auth::default();
    choose(&mut config);
    let db = Arc::clone(&fresh.db);
    host_over(Arc::new(fresh), db, &config)
}

fn host_over(fresh: Arc<Fresh>, db: Arc<dyn Database>, config: &config::Auth) -> Host {
    let sql = HostSql::new(db);
    let vault = Arc::new(Vault::load_or_create(&fresh.dir.path().join("keys")).unwrap());
    let settings = Arc::new(Settings::new(sql.clone(), vault));
    let keys = Keys::load_or_create(&fresh.dir.path().join("keys")).unwrap();
    let clock = Clock::default();
    let accounts = Accounts::new(sql, keys, Arc::clone(&settings), config).with_clock(clock.clone());
    let accounts = Arc::new(accounts);
    let mut own = HostRoutes::default();
    routes(&mut own, Arc::clone(&accounts));
    let authenticator: Arc<dyn Authenticate> = Arc::clone(&accounts) as _;
    let routes = own.into_router(&authenticator);
    Host { fresh, accounts, settings, clock, routes }
}

impl Host {
    /// Returns another node over the same database, with the same keys.
    pub(crate) async fn another_node(&self) -> Host {
        host_over(Arc::clone(&self.fresh), self.fresh.beside().await, &config::Auth::default())
    }

    pub(crate) async fn call(&self, line: &str, token: Option<&str>, body: &str) -> (u16, Json) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = Request::builder()
            .method(method)
            .uri(format!("http://localhost{path}"))
            .header(header::CONTENT_TYPE, "application/json")
            .extension(self.origin("127.0.0.1"));
        if let Some(token) = token {
            request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        self.send(request.body(Body::from(body.to_owned())).unwrap()).await
    }

    /// Returns what the server knows of a request whose socket ends at `peer`.
    pub(crate) fn origin(&self, peer: &str) -> RequestInfo {
        let peer = peer.parse().unwrap();
        RequestInfo { id: RequestId::generate(), client: peer, peer, is_https: false }
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> (u16, Json) {
        let response = self.routes.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
        (status, body)
    }

    pub(crate) async fn login(&self, email: &str) -> (u16, Json) {
        let body = json!({"email": email, "password": PASSWORD}).to_string();
        self.call("POST /api/auth/login", None, &body).await
    }

    /// Signs in from an address with a user agent.
    pub(crate) async fn login_from(
        &self,
        email: &str,
        password: &str,
        address: &str,
        user_agent: &str,
    ) -> Result<LoginAnswer, ApiError> {
        let request = json!({"email": email, "password": password}).to_string();
        let request: LoginRequest = read_json(request.as_bytes()).unwrap();
        let actor = Actor { address: Some(address.into()), ..Actor::local(ActorKind::Nobody, "") };
        let client = Client { actor, user_agent: Some(user_agent.into()), is_here: true };
        match self.accounts.login(request, &client).await? {
            SignInAnswer::Session(session) => Ok(session),
            SignInAnswer::SecondFactor(asked) => panic!("{asked:?}"),
        }
    }

    /// Signs in and returns the access and the refresh token.
    pub(crate) async fn session(&self, email: &str) -> (String, String) {
        let (status, answer) = self.login(email).await;
        assert_eq!(status, 200, "{answer}");
        (word(&answer, "access_token"), word(&answer, "refresh_token"))
    }

    /// Creates an account in an instance that has an administrator.
    pub(crate) async fn register(&self, email: &str) {
        if self.count("tb_users").await == 0 {
            self.session("root@example.org").await;
        }
        let body = json!({"email": email, "password": PASSWORD}).to_string();
        let (status, answer) = self.call("POST /api/auth/register", None, &body).await;
        assert_eq!(status, 201, "{answer}");
    }

    pub(crate) async fn me(&self, token: &str) -> u16 {
        self.call("GET /api/auth/me", Some(token), "").await.0
    }

    pub(crate) async fn refresh(&self, token: &str) -> (u16, Json) {
        self.call("POST /api/auth/refresh", Some(token), "").await
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        let rows = query(&self.fresh.db, ReadHint::Indexed, &format!("SELECT count(*) FROM {table}"), &[])
            .await
            .unwrap();
        match rows[0][0] {
            Value::Integer(count) => count,
            ref other => panic!("{other:?} is no count"),
        }
    }
}

/// Returns a text of a response.
pub(crate) fn word(answer: &Json, key: &str) -> String {
    answer[key].as_str().unwrap_or_else(|| panic!("{answer} has no text {key}")).to_owned()
}

/// Returns the names of a response's fields.
pub(crate) fn keys(answer: &Json) -> Vec<&str> {
    answer.as_object().unwrap().keys().map(String::as_str).collect()
}

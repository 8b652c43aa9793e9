//! The places that must never contain a secret: the log at its most verbose level, the audit log, the request log,
//! error bodies.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value as Json, json};
use tinybase_tests::{Answer, Client, Server, Site, site::ADMIN_EMAIL, site::PASSWORD};
use totp_rs::{Builder, Secret};

const ADA: &str = "ada@example.com";

/// The maximum wait for a mail.
const MAIL_WAIT_MAX: Duration = Duration::from_secs(20);

/// The text in every marked secret.
const MARK: &str = "marked-secret";

/// The prefixes of all tokens: refresh, one-time and application tokens, and JWTs.
const TOKEN_PREFIXES: [&str; 4] = ["tbr_", "tbo_", "tba_", "eyJ"];

/// Sends requests, and collects the secrets in responses and the bodies of errors.
#[derive(Default)]
struct Told {
    secrets: Vec<String>,
    errors: Vec<String>,
}

impl Told {
    /// Sends one request, and remembers the response if it is an error.
    #[track_caller]
    fn send(&mut self, client: &Client, line: &str, body: &str) -> Answer {
        let (method, path) = line.split_once(' ').unwrap();
        let answer = client.send(method, path, body.as_bytes());
        self.note(line, &answer);
        answer
    }

    fn note(&mut self, line: &str, answer: &Answer) {
        if answer.status >= 400 {
            self.errors.push(format!("{line}: {}", String::from_utf8_lossy(&answer.body)));
        }
    }

    /// Like [`Told::send`], for a response that must have this status.
    #[track_caller]
    fn expect(&mut self, client: &Client, status: u16, line: &str, body: &Json) -> Json {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send(client, line, &body).expect(status)
    }

    /// Keeps a secret from a response.
    #[track_caller]
    fn keep(&mut self, secret: &Json) -> String {
        let secret = secret.as_str().unwrap().to_owned();
        assert!(secret.len() >= 8, "{secret} is too short to be looked for");
        self.secrets.push(secret.clone());
        secret
    }

    fn keep_session(&mut self, session: &Json) -> (String, String) {
        (self.keep(&session["access_token"]), self.keep(&session["refresh_token"]))
    }
}

fn password(name: &str) -> String {
    format!("{MARK}-password-{name}")
}

fn totp(secret: &str, steps_from_now: u64) -> String {
    let step = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30 + steps_from_now;
    let secret = Secret::try_from_base32(secret).unwrap();
    Builder::new().with_secret(secret).build().unwrap().generate(step * 30).to_string()
}

/// Passwords and sessions: good ones, wrong ones, malformed ones.
fn use_accounts(server: &Server, told: &mut Told) -> Client {
    let nobody = server.client();
    let first = password("first");
    told.expect(&nobody, 201, "POST /api/auth/register", &json!({"email": ADA, "password": first}));
    told.expect(&nobody, 400, "POST /api/auth/register", &json!({"email": ADA, "password": first}));
    let login = "POST /api/auth/login";
    for broken in [
        json!({"email": ADA, "password": [password("list")]}),
        json!({"email": password("for-an-email"), "password": first}),
        json!({"email": ADA, "password": first, (password("field")): 1}),
        json!({"email": ADA, "passwort": password("misspelt")}),
        json!(password("alone")),
    ] {
        told.send(&nobody, login, &broken.to_string());
    }
    told.send(&nobody, login, &format!("{{\"email\": \"{ADA}\", \"password\": \"{}", password("cut")));
    told.expect(&nobody, 401, login, &json!({"email": ADA, "password": password("wrong")}));
    let long = format!("{}{}", password("long"), "x".repeat(300));
    told.expect(
        &nobody,
        422,
        "POST /api/auth/register",
        &json!({"email": "b@example.com", "password": long}),
    );
    let session = told.expect(&nobody, 200, login, &json!({"email": ADA, "password": first}));
    let (_, refresh) = told.keep_session(&session);
    let renewed =
        told.expect(&nobody.clone().with_token(&refresh), 200, "POST /api/auth/refresh", &Json::Null);
    let (_, next) = told.keep_session(&renewed);
    for (token, status) in [(refresh.as_str(), 401), (&next, 401), (MARK, 401)] {
        told.expect(&nobody.clone().with_token(token), status, "POST /api/auth/refresh", &Json::Null);
    }
    let session = told.expect(&nobody, 200, login, &json!({"email": ADA, "password": first}));
    let ada = nobody.with_token(&told.keep_session(&session).0);
    let change = json!({"current_password": password("wrong"), "password": password("second")});
    told.send(&ada, "PATCH /api/auth/me", &change.to_string());
    let change = json!({"current_password": first, "password": password("second")});
    told.expect(&ada, 200, "PATCH /api/auth/me", &change);
    ada
}

/// Sends secrets in wrong places, or as headers.
fn misplace(client: &Client, told: &mut Told) {
    let headers = [
        ("authorization", "Bearer marked-secret-token"),
        ("cookie", "sid=marked-secret-cookie"),
        ("x-api-key", "marked-secret-header"),
        ("proxy-authorization", "Basic marked-secret-proxy"),
    ];
    for path in ["/api/auth/me", "/api/mailbox", "/health", "/nothing", "/api/collections"] {
        let asked = format!("{path}?token=marked-secret-query");
        for headers in [&headers[..1], &headers[1..]] {
            let answer = client.try_send("GET", &asked, headers, b"").unwrap();
            told.note(path, &answer);
        }
    }
}

fn use_second_factor(ada: &Client, server: &Server, told: &mut Told) {
    let second = password("second");
    let enrol = "POST /api/auth/mfa/totp/enrol";
    told.send(ada, enrol, &json!({"password": password("wrong")}).to_string());
    let enrolment = told.expect(ada, 200, enrol, &json!({"password": second}));
    let secret = told.keep(&enrolment["secret"]);
    told.keep(&enrolment["otpauth_url"]);
    let code = json!({"code": totp(&secret, 0)});
    let codes = told.expect(ada, 200, "POST /api/auth/mfa/totp/confirm", &code)["recovery_codes"].clone();
    for code in codes.as_array().unwrap() {
        told.keep(code);
    }
    let client = server.client();
    let login = json!({"email": ADA, "password": second});
    let asked = told.expect(&client, 200, "POST /api/auth/login", &login);
    let ticket = told.keep(&asked["mfa_ticket"]);
    for (field, value, status) in [
        ("recovery_code", json!("marked-secret-code"), 401),
        ("ticket", json!("marked-secret-ticket"), 422),
        ("recovery_code", codes[0].clone(), 200),
        ("recovery_code", codes[0].clone(), 401),
    ] {
        let body = json!({"mfa_ticket": ticket, field: value});
        let answer = told.expect(&client, status, "POST /api/auth/mfa/verify", &body);
        if status == 200 {
            told.keep_session(&answer);
        }
    }
    let both = json!({"password": second, "recovery_code": codes[1]});
    let renewed = told.expect(ada, 200, "POST /api/auth/mfa/recovery-codes", &both);
    let last = told.keep(&renewed["recovery_codes"][0]);
    let both = json!({"password": second, "recovery_code": last});
    let disabled = told.send(ada, "DELETE /api/auth/mfa/totp", &both.to_string());
    assert!(disabled.status < 300, "{disabled:?}");
}

/// Waits until there are this many mails, and returns the last one's token.
fn mailed(server: &Server, count: usize) -> Json {
    let deadline = Instant::now() + MAIL_WAIT_MAX;
    loop {
        let mails = server.client().get("/api/mailbox").expect(200);
        if let Some(mail) = mails.get(count - 1) {
            return mail["data"]["token"].clone();
        }
        assert!(Instant::now() < deadline, "mail {count} does not come");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

fn use_links(server: &Server, told: &mut Told) {
    let client = server.client();
    let bounce = json!({"email": "bounce@example.com", "password": password("bounce")});
    told.expect(&client, 201, "POST /api/auth/register", &bounce);
    for what in ["password-reset", "login-link"] {
        let request = format!("POST /api/auth/{what}/request");
        told.expect(&client, 200, &request, &json!({"email": "bounce@example.com"}));
    }
    // A refused mail is logged; the line must not contain the mail.
    server.logged(&["mail_refused"]);
    told.expect(&client, 200, "POST /api/auth/password-reset/request", &json!({"email": ADA}));
    let token = told.keep(&mailed(server, 1));
    let reset = "POST /api/auth/password-reset/confirm";
    told.expect(&client, 200, reset, &json!({"token": token, "password": password("third")}));
    told.expect(&client, 400, reset, &json!({"token": token, "password": password("fourth")}));
    told.expect(&client, 200, "POST /api/auth/login-link/request", &json!({"email": ADA}));
    let token = told.keep(&mailed(server, 2));
    let confirm = "POST /api/auth/login-link/confirm";
    let session = told.expect(&client, 200, confirm, &json!({"token": token}));
    told.keep_session(&session);
    told.expect(&client, 400, confirm, &json!({"token": token}));
    told.expect(&client, 400, confirm, &json!({"token": "tbo_marked-secret-link"}));
}

fn administrate(admin: &Client, server: &Server, told: &mut Told) {
    let user = json!({"email": "cara@example.com", "password": password("made"), "role": "viewer"});
    let made = told.expect(admin, 201, "POST /api/admin/users", &user);
    let line = format!("PATCH /api/admin/users/{}", made["id"].as_str().unwrap());
    told.expect(admin, 200, &line, &json!({"password": password("set")}));
    told.send(admin, &line, &json!({"password": [password("list")]}).to_string());
    let settings = "PATCH /api/admin/settings";
    let secret = json!({"storage_secret_key": password("setting")});
    told.expect(admin, 200, settings, &secret);
    told.expect(admin, 422, settings, &json!({"storage_secret_key": [password("setting")]}));
    let tokens = "POST /api/admin/application-tokens";
    let made = told.expect(admin, 201, tokens, &json!({"name": "app", "scopes": ["admin:users:read"]}));
    let app = server.client().with_token(&told.keep(&made["token_value"]));
    told.expect(&app, 200, "GET /api/admin/users", &Json::Null);
    told.expect(&app, 403, "GET /api/admin/audit-log", &Json::Null);
    let end = format!("DELETE /api/admin/application-tokens/{}", made["token"]["id"].as_str().unwrap());
    let ended = told.send(admin, &end, "");
    assert!(ended.status < 300, "{ended:?}");
    told.expect(&app, 401, "GET /api/admin/users", &Json::Null);
}

/// Returns everything that an operator can read.
fn read_back(admin: &Client) -> Vec<String> {
    let paths = [
        "/api/admin/audit-log?limit=100",
        "/api/admin/audit-log/export",
        "/api/admin/requests?limit=100",
        "/api/admin/settings",
        "/api/admin/settings/history",
        "/api/admin/users",
        "/api/admin/application-tokens",
        "/metrics",
        "/openapi.json",
    ];
    let each = paths.iter().map(|path| {
        let answer = admin.get(path);
        assert_eq!(answer.status, 200, "{path}");
        format!("{path}: {}", String::from_utf8_lossy(&answer.body))
    });
    each.collect()
}

fn no_secret_is_told(format: &str) {
    let mut site = Site::new();
    site.set("TINYBASE_AUTH_REFRESH_REUSE_INTERVAL_SECONDS", "0");
    site.install_stress("mailbox");
    let key = "5ec2e7".repeat(10) + "5ec2";
    for (name, value) in [
        ("TINYBASE_LOG_LEVEL", "trace"),
        ("TINYBASE_LOG_FORMAT", format),
        ("TINYBASE_SECRET_KEY", &key),
        ("TINYBASE_ADMIN_EMAIL", ADMIN_EMAIL),
        ("TINYBASE_ADMIN_PASSWORD", "marked-secret-variable"),
        ("TINYBASE_EMAIL_SMTP_PASSWORD", "marked-secret-smtp"),
        ("TINYBASE_AUTH_PASSWORD_RESET_URL", "https://app.example.org/reset?token={token}"),
    ] {
        site.set(name, value);
    }
    let server = site.serve();
    let mut told = Told { secrets: vec![MARK.into(), PASSWORD.into(), key], errors: Vec::new() };
    told.secrets.extend(TOKEN_PREFIXES.map(str::to_owned));
    // The password of its user, after the second `:` and before the host.
    told.secrets.extend(site.database_url().map(|url| url.split([':', '@']).nth(2).unwrap().to_owned()));
    let ada = use_accounts(&server, &mut told);
    misplace(&server.client(), &mut told);
    use_second_factor(&ada, &server, &mut told);
    use_links(&server, &mut told);
    let admin = server.admin();
    administrate(&admin, &server, &mut told);
    let read = read_back(&admin);
    server.ask_to_end();
    let log = server.log();
    assert!(log.iter().any(|line| line.contains("/api/auth/login")), "every request is in the log: {log:?}");
    assert!(told.errors.len() > 25, "{:?}", told.errors);
    for text in log.iter().chain(&told.errors).chain(&read) {
        for secret in &told.secrets {
            assert!(!text.contains(secret.as_str()), "{secret} is told: {text}");
        }
    }
}

#[test]
fn no_secret_is_told_by_a_log_in_text() {
    no_secret_is_told("text");
}

#[test]
fn no_secret_is_told_by_a_log_in_json() {
    no_secret_is_told("json");
}

//! The rows of the REST contract, as `.case` files on the real server, and the tests that a case file cannot express.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::fs;

use serde_json::json;
use tinybase_tests::{Site, cases, root, site::PASSWORD};

/// Runs one file on a fresh server.
fn check(name: &str) {
    let site = Site::new();
    let server = site.serve();
    if let Err(fault) = cases::run(&server, &root().join("tests/cases").join(name)) {
        panic!("{fault}\nWhere the new answer is right, run the test again with UPDATE_EXPECT=1.");
    }
}

macro_rules! cases {
    ($($name:ident)*) => {
        $(
            #[test]
            fn $name() {
                check(concat!(stringify!($name), ".case"));
            }
        )*

        #[test]
        fn every_case_is_run() {
            let files = fs::read_dir(root().join("tests/cases")).unwrap();
            let mut files: Vec<_> = files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect();
            files.sort();
            assert_eq!(files, [$(concat!(stringify!($name), ".case")),*]);
        }
    };
}
cases! {
    access
    accounts
    accounts_links
    admin_metrics
    admin_settings
    admin_tokens
    admin_users
    audit
    collections
    records
    second_factor
    system
}

#[test]
fn the_first_login_of_all_becomes_the_admin() {
    let site = Site::without_admin();
    let server = site.serve();
    let client = server.client();
    let status = |needs_setup: bool| {
        let expected = json!({"needs_setup": needs_setup, "setup_token_required": false});
        assert_eq!(client.get("/api/auth/setup-status").expect(200), expected);
    };
    status(true);
    let login = json!({"email": "first@example.com", "password": PASSWORD});
    let first = client.post("/api/auth/login", &login).expect(200);
    assert_eq!((&first["admin_created"], &first["is_admin"]), (&json!(true), &json!(true)));
    status(false);
    let second = json!({"email": "second@example.com", "password": PASSWORD});
    assert_eq!(client.post("/api/auth/login", &second).status, 401);
    let again = client.post("/api/auth/login", &login).expect(200);
    assert_eq!((&again["admin_created"], &again["is_admin"]), (&json!(false), &json!(true)));
}

#[test]
fn a_refresh_token_works_once_and_a_logout_ends_every_token_at_once() {
    let mut site = Site::new();
    site.set("TINYBASE_AUTH_REFRESH_REUSE_INTERVAL_SECONDS", "0");
    let server = site.serve();
    let client = server.client().registered("ada@example.com");
    let login = json!({"email": "ada@example.com", "password": PASSWORD});
    let first = client.post("/api/auth/login", &login).expect(200);
    let with =
        |answer: &serde_json::Value, name: &str| server.client().with_token(answer[name].as_str().unwrap());
    let refreshed = with(&first, "refresh_token").send("POST", "/api/auth/refresh", b"").expect(200);
    for field in ["access_token", "refresh_token", "token_type", "user_id", "email", "is_admin"] {
        assert!(refreshed.get(field).is_some(), "{field} is missing");
    }
    assert_eq!(with(&refreshed, "access_token").get("/api/auth/me").status, 200);
    assert_eq!(
        with(&first, "refresh_token").send("POST", "/api/auth/refresh", b"").status,
        401,
        "used twice"
    );

    let second = client.post("/api/auth/login", &login).expect(200);
    let third = client.post("/api/auth/login", &login).expect(200);
    assert_eq!(with(&second, "access_token").send("POST", "/api/auth/logout", b"").status, 200);
    for ended in [&second, &third] {
        assert_eq!(with(ended, "access_token").get("/api/auth/me").status, 401);
        assert_eq!(with(ended, "refresh_token").send("POST", "/api/auth/refresh", b"").status, 401);
    }
}

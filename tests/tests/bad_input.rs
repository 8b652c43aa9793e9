//! Bad input on the real server: every request is refused with 4xx and a code, nothing of it is stored, and memory
//! stays bounded.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    io::{Read, Write},
    time::{Duration, Instant},
};

use serde_json::{Value as Json, json};
use tinybase_test_postgres::server_url;
use tinybase_tests::{Client, Server, Site, client::status_of};

const RECORDS: &str = "/api/collections/posts/records";

/// A server with an open collection, and its stored records.
struct Posts {
    _site: Site,
    server: Server,
    client: Client,
    admin: Client,
}

impl Posts {
    fn new() -> Posts {
        let site = Site::new();
        let server = site.serve();
        let admin = server.admin();
        let fields = json!([
            {"name": "title", "type": "string", "required": true, "max_length": 100},
            {"name": "count", "type": "integer", "min": 0},
            {"name": "price", "type": "number"},
            {"name": "open", "type": "boolean"},
            {"name": "tags", "type": "list[string]"},
            {"name": "more", "type": "object"},
            {"name": "day", "type": "date"},
        ]);
        let access = json!({"list": "public", "read": "public", "create": "public", "update": "public"});
        let options = json!({"access": access});
        let posts =
            json!({"name": "posts", "label": "Posts", "schema": {"fields": fields}, "options": options});
        admin.post("/api/collections", &posts).expect(201);
        Posts { client: server.client(), _site: site, server, admin }
    }

    fn stored(&self) -> Json {
        let collections = self.client.get("/api/collections").expect(200).as_array().map(Vec::len);
        let records = self.client.get(RECORDS).expect(200)["total"].clone();
        json!([collections, records])
    }
}

/// Checks for a 4xx with a code, and a detail that reveals no internals.
#[track_caller]
fn refused(answer: &tinybase_tests::Answer, what: &str) {
    let body = String::from_utf8_lossy(&answer.body).into_owned();
    let shown = &body[..body.len().min(300)];
    assert!((400..500).contains(&answer.status), "{what}: {} {shown}", answer.status);
    assert!(!answer.code().is_empty(), "{what} has no code: {shown}");
    assert!(answer.json().get("detail").is_some(), "{what} has no detail: {shown}");
    for inside in ["sqlite", "SELECT", "panicked", ".rs:", "collections_r_"] {
        assert!(!body.contains(inside), "{what} shows the inside: {shown}");
    }
    assert!(body.len() < 64 << 10, "{what} is answered by {} bytes", body.len());
}

/// Returns invalid bodies for the creation of a record.
fn bad_bodies() -> Vec<(String, Vec<u8>)> {
    let nested = |open: &str, close: &str, depth: usize| {
        let value = open.repeat(depth) + "1" + &close.repeat(depth);
        format!("{{\"data\": {{\"title\": \"x\", \"more\": {value}}}}}").into_bytes()
    };
    let text = |name: &str, body: &str| (name.to_owned(), body.as_bytes().to_vec());
    let mut bodies = vec![
        text("nothing", ""),
        text("half an object", "{\"data\": {\"title\": \"x\""),
        text("a word", "data"),
        text("null", "null"),
        text("an array", "[]"),
        text("a number", "7"),
        text("no data", "{}"),
        text("data is null", "{\"data\": null}"),
        text("data is a list", "{\"data\": []}"),
        text("data is text", "{\"data\": \"title\"}"),
        text("two values", "{\"data\": {\"title\": \"x\"}} {}"),
        text("a comment", "{\"data\": {\"title\": \"x\" /* x */}}"),
        text("NaN", "{\"data\": {\"title\": \"x\", \"price\": NaN}}"),
        text("infinity", "{\"data\": {\"title\": \"x\", \"price\": 1e999}}"),
        text("a huge integer", "{\"data\": {\"title\": \"x\", \"count\": 99999999999999999999999999}}"),
        text("an integer below 0", "{\"data\": {\"title\": \"x\", \"count\": -1}}"),
        text("half an integer", "{\"data\": {\"title\": \"x\", \"count\": 0.5}}"),
        text("a lone surrogate", "{\"data\": {\"title\": \"\\ud800\"}}"),
        text("a NUL escape", "{\"data\": {\"title\": \"a\\u0000b\"}}"),
        text("a raw NUL", "{\"data\": {\"title\": \"a\0b\"}}"),
        text("a raw newline", "{\"data\": {\"title\": \"a\nb\"}}"),
        text("a byte order mark", "\u{feff}{\"data\": {\"title\": \"x\"}}"),
        ("text that is not UTF-8".to_owned(), b"{\"data\": {\"title\": \"\xff\xfe\"}}".to_vec()),
        ("a key that is not UTF-8".to_owned(), b"{\"data\": {\"\xc3\x28\": 1, \"title\": \"x\"}}".to_vec()),
        ("arrays 200 deep".to_owned(), nested("[", "]", 200)),
        ("arrays 100,000 deep".to_owned(), nested("[", "]", 100_000)),
        ("objects 100,000 deep".to_owned(), nested("{\"a\":", "}", 100_000)),
        (
            "a name of 1 MB".to_owned(),
            format!("{{\"data\": {{\"title\": \"x\", \"{}\": 1}}}}", "n".repeat(1 << 20)).into(),
        ),
        (
            "a title of 1 MB".to_owned(),
            format!("{{\"data\": {{\"title\": \"{}\"}}}}", "t".repeat(1 << 20)).into(),
        ),
        (
            "digits of 1 MB".to_owned(),
            format!("{{\"data\": {{\"title\": \"x\", \"count\": {}}}}}", "9".repeat(1 << 20)).into(),
        ),
    ];
    for (field, value) in [
        ("title", "1"),
        ("title", "null"),
        ("title", "[\"x\"]"),
        ("count", "\"1\""),
        ("count", "true"),
        ("price", "\"1.5\""),
        ("open", "\"true\""),
        ("open", "1"),
        ("tags", "\"a\""),
        ("tags", "[1]"),
        ("tags", "[null]"),
        ("more", "[]"),
        ("more", "\"{}\""),
        ("day", "\"2026-02-30\""),
        ("day", "20260101"),
    ] {
        let title = if field == "title" { "" } else { "\"title\": \"x\", " };
        bodies.push((
            format!("{field} is {value}"),
            format!("{{\"data\": {{{title}\"{field}\": {value}}}}}").into(),
        ));
    }
    bodies
}

#[test]
fn bad_bodies_are_refused_and_nothing_is_stored() {
    let posts = Posts::new();
    let before = posts.stored();
    for (name, body) in bad_bodies() {
        let headers = [("content-type", "application/json")];
        let answer = posts.client.try_send("POST", RECORDS, &headers, &body).unwrap();
        refused(&answer, &name);
        assert_eq!(posts.stored(), before, "{name} left something");
    }
    let accepted = posts.client.post(RECORDS, &json!({"data": {"title": "good"}}));
    assert_eq!(accepted.status, 201);
}

#[test]
fn a_text_that_no_index_holds_is_refused_where_there_is_such_a_limit() {
    let posts = Posts::new();
    let fields = json!([{"name": "key", "type": "string", "unique": true}]);
    let options = json!({"access": {"create": "public"}});
    let keys = json!({"name": "keys", "label": "Keys", "schema": {"fields": fields}, "options": options});
    posts.admin.post("/api/collections", &keys).expect(201);
    // Random characters, so that it cannot be compressed.
    let long: String = (0..12_000).map(|_| char::from(rand::random_range(b'!'..=b'~'))).collect();
    let answer = posts.client.post("/api/collections/keys/records", &json!({"data": {"key": long}}));
    if server_url().is_some() {
        assert_eq!(answer.outcome(), (400, "indexed_value_too_long".into()));
    } else {
        answer.expect(201);
    }
}

#[test]
fn bad_bodies_of_accounts_are_refused() {
    let posts = Posts::new();
    let long = "x".repeat(1 << 20);
    for body in [
        json!({}),
        json!({"email": "ada@example.com"}),
        json!({"email": 7, "password": "12345678"}),
        json!({"email": "ada@example.com", "password": 12_345_678}),
        json!({"email": "ada@example.com", "password": "short"}),
        json!({"email": "no at sign", "password": "12345678"}),
        json!({"email": "a\u{0}b@example.com", "password": "12345678"}),
        json!({"email": "a\r\nb@example.com", "password": "12345678"}),
        json!({"email": format!("{long}@example.com"), "password": "12345678"}),
        json!({"email": "ada@example.com", "password": long}),
        json!({"email": ["ada@example.com"], "password": {"$ne": ""}}),
        json!(null),
        json!([]),
    ] {
        let shown: String = body.to_string().chars().take(80).collect();
        refused(&posts.client.post("/api/auth/register", &body), &format!("register {shown}"));
        refused(&posts.client.post("/api/auth/login", &body), &format!("login {shown}"));
    }
    for injection in ["' OR 1=1 --", "admin'--", "\"; DROP TABLE tb_users; --", "root@example.com' OR '1'='1"]
    {
        let login = json!({"email": injection, "password": injection});
        refused(&posts.client.post("/api/auth/login", &login), injection);
    }
    assert_eq!(posts.admin.get("/api/auth/me").status, 200);
}

#[test]
fn bad_tokens_are_refused() {
    let posts = Posts::new();
    let good = posts.admin.token().unwrap().to_owned();
    let (head, signature) = good.rsplit_once('.').unwrap();
    let none = "eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0";
    let payload = head.split_once('.').unwrap().1;
    let flipped: String = signature.chars().rev().collect();
    for token in [
        "x".to_owned(),
        format!("{head}."),
        format!("{head}.{flipped}"),
        format!("{none}.{payload}."),
        format!("{good}x"),
        "a.b.c".to_owned(),
        "9".repeat(6000),
    ] {
        let client = posts.server.client().with_token(&token);
        let shown = &token[..token.len().min(60)];
        for path in ["/api/auth/me", RECORDS] {
            let answer = client.get(path);
            assert_eq!(
                answer.status,
                401,
                "{path} with {shown}: {:?}",
                String::from_utf8_lossy(&answer.body)
            );
            refused(&answer, shown);
        }
    }
    for header in ["Bearer", "Bearer ", "Basic cm9vdDpyb290", "bearer\t", "Token x"] {
        let answer = posts.client.try_send("GET", "/api/auth/me", &[("authorization", header)], b"").unwrap();
        assert_eq!(answer.status, 401, "{header:?}");
    }
}

/// Queries of a list that must be refused.
const BAD_QUERIES: &[&str] = &[
    "limit=0",
    "limit=-1",
    "limit=1001",
    "limit=x",
    "limit=99999999999999999999",
    "limit=1%00",
    "offset=-1",
    "offset=1e9",
    "sort_order=sideways",
    "sort_by=nothing",
    "sort_by=title;DROP%20TABLE%20tb_users",
    "sort_by=(SELECT%20password_hash%20FROM%20tb_users)",
    "sort=title%20DESC;--",
    "filter=title%20=%20'x'%20OR%201=1;%20DROP%20TABLE%20collections_r_1",
    "filter=title%20=",
    "filter=(((((",
    "filter=nothing%20=%201",
    "filter=title%20=%20'x",
    "filter=count%20=%20'x'",
    "filter=load_extension('x')%20=%201",
    "filter=title%20=%20(SELECT%20password_hash%20FROM%20tb_users)",
    "filter=title%20UNION%20SELECT%20*%20FROM%20tb_users",
    "filter=%FF%FE",
    "filter=a%00b",
    "fields=nothing",
    "expand=title",
    "count=perhaps",
    "cursor=garbage",
    "cursor=%00",
];

#[test]
fn bad_queries_are_refused_and_run_nothing() {
    let posts = Posts::new();
    posts.client.post(RECORDS, &json!({"data": {"title": "only"}})).expect(201);
    let before = posts.stored();
    for query in BAD_QUERIES {
        let answer = posts.client.get(&format!("{RECORDS}?{query}"));
        refused(&answer, query);
        assert_eq!(posts.stored(), before, "{query}");
    }
    let long = "title = 'x' or ".repeat(400) + "title = 'x'";
    let deep = "(".repeat(3000) + "title = 'x'" + &")".repeat(3000);
    for filter in [long.replace(' ', "%20"), deep.replace(' ', "%20")] {
        let answer = posts.client.get(&format!("{RECORDS}?filter={filter}"));
        assert!(answer.status == 200 || (400..500).contains(&answer.status), "{}", answer.status);
    }
    // A value is a value, whatever it contains.
    for value in ["x' OR '1'='1", "'; DROP TABLE tb_users; --", "%' OR 1=1 --", "\\"] {
        let quoted = value.replace('\'', "''");
        let filter: String =
            format!("title = '{quoted}'").bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = posts.client.get(&format!("{RECORDS}?filter={filter}"));
        assert!(answer.status == 400 || answer.expect(200)["total"] == 0, "{value}");
    }
    assert_eq!(posts.stored(), before);
}

#[test]
fn bad_paths_are_refused() {
    let posts = Posts::new();
    let long = "n".repeat(30_000);
    for path in [
        "/api/collections/posts%00",
        "/api/collections/%FF",
        "/api/collections/..%2F..%2Fetc%2Fpasswd",
        "/api/collections/posts'--",
        "/api/collections/POSTS",
        "/api/collections/tb_users",
        "/api/collections/posts/records/x'%20OR%20'1'='1",
        "/api/collections/posts/records/%00",
        "/api/collections/posts/records/../../../tb_users",
        "/../../../../etc/passwd",
        "/admin/../tinybase.toml",
        "/api/nothing",
        &format!("/api/collections/{long}"),
    ] {
        let (status, answer) = posts
            .client
            .raw(format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes());
        assert!((400..500).contains(&status), "{}: {status}", &path[..path.len().min(80)]);
        assert!(!String::from_utf8_lossy(&answer).contains("root:"), "{path}");
    }
    for name in [
        "",
        "A",
        "1a",
        "a-b",
        "a b",
        "a\u{0}b",
        "é",
        "x'; DROP TABLE y; --",
        &"n".repeat(101),
        &"n".repeat(1 << 20),
    ] {
        let body = json!({"name": name, "label": "x", "schema": {"fields": []}});
        let shown: String = name.chars().take(40).collect();
        refused(&posts.admin.post("/api/collections", &body), &format!("the name {shown:?}"));
        let field = json!({"fields": [{"name": name, "type": "string"}]});
        let body = json!({"name": "fine", "label": "x", "schema": field});
        if !name.starts_with(['A', 'n']) || name.len() > 1000 {
            refused(&posts.admin.post("/api/collections", &body), &format!("the field {shown:?}"));
        }
    }
    assert_eq!(posts.stored(), json!([1, 0]));
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    let posts = Posts::new();
    let head =
        |lines: &str| format!("POST {RECORDS} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{lines}\r\n");
    let requests: Vec<(&str, Vec<u8>)> = vec![
        ("noise", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello \xff\xff\r\n\r\n".to_vec()),
        ("no version", b"GET /\r\n\r\n".to_vec()),
        ("HTTP/9", b"GET / HTTP/9.9\r\nhost: x\r\n\r\n".to_vec()),
        ("a header without a colon", head("nonsense\r\n").into()),
        ("a header with a NUL", head("x: a\0b\r\n").into()),
        ("headers of 1 MB", head(&format!("x: {}\r\n", "y".repeat(1 << 20))).into()),
        ("20,000 headers", head(&"x: y\r\n".repeat(20_000)).into()),
        ("a length below 0", head("content-length: -5\r\n").into()),
        ("a length that is no number", head("content-length: five\r\n").into()),
        ("two lengths", head("content-length: 5\r\ncontent-length: 6\r\n").into()),
        ("a length beyond 64 bits", head("content-length: 99999999999999999999999\r\n").into()),
        ("a bad chunk", (head("transfer-encoding: chunked\r\n") + "zz\r\nx\r\n0\r\n\r\n").into()),
        ("an unknown coding", head("transfer-encoding: rot13\r\n").into()),
    ];
    for (name, bytes) in requests {
        let (status, answer) = posts.client.raw(&bytes);
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(200)]).into_owned();
        assert!(status == 0 || (400..506).contains(&status) && status != 500, "{name}: {status} {shown}");
    }
    assert_eq!(posts.stored(), json!([1, 0]));
}

#[test]
fn oversize_bodies_are_refused_and_memory_stays_bounded() {
    let posts = Posts::new();
    let before = posts.server.peak_bytes();
    let announced = format!(
        "POST {RECORDS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: 5000000000\r\n\r\n"
    );
    let (status, _) = posts.client.raw(announced.as_bytes());
    assert_eq!(status, 413, "an announced length is refused before a byte of it is read");

    let mut stream = posts.client.connect();
    let head = format!(
        "POST {RECORDS} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    let chunk = [format!("{:x}\r\n", 1 << 20).into_bytes(), vec![b' '; 1 << 20], b"\r\n".to_vec()].concat();
    // Sent until the server stops accepting it.
    let sent = (0..200).take_while(|_| stream.write_all(&chunk).is_ok()).count();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(sent < 200, "200 MB were taken");
    let status = status_of(&answer);
    assert!(status == 413 || status == 0, "{status}");
    let grown = posts.server.peak_bytes().saturating_sub(before);
    assert!(grown < 96 << 20, "the server grew by {} MB", grown >> 20);
    assert_eq!(posts.stored(), json!([1, 0]));
}

#[test]
fn slow_clients_are_let_go_and_hold_nobody_up() {
    let posts = Posts::new();
    let half = format!("POST {RECORDS} HTTP/1.1\r\nhost: x\r\n");
    let mut slow: Vec<_> = (0..200).map(|_| posts.client.connect()).collect();
    for stream in &mut slow {
        stream.write_all(half.as_bytes()).unwrap();
    }
    let started = Instant::now();
    assert_eq!(posts.client.get("/health").status, 200);
    assert!(started.elapsed() < Duration::from_millis(900), "slow clients held a quick one up");
    for stream in &mut slow {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(matches!(status_of(&answer), 0 | 408), "{}", status_of(&answer));
    }
    assert!(started.elapsed() < Duration::from_secs(15), "slow clients were kept");
    assert_eq!(posts.stored(), json!([1, 0]));
}

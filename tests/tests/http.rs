//! The rules for every route of the host: the names and the type of what is sent, the tags of what is changed, and the
//! details of a failure. The routes come from the document, so that none is forgotten.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use serde_json::{Value as Json, json};
use tinybase_tests::{Answer, Client, Site};

/// Returns the host's operations below `/api`: method, path with parameters filled in, and the operation.
fn operations(client: &Client) -> Vec<(String, String, Json)> {
    let document = client.get("/openapi.json").expect(200);
    let paths = document["paths"].as_object().unwrap().iter();
    let own = paths.filter(|(path, _)| path.starts_with("/api/auth") || path.starts_with("/api/admin"));
    own.filter(|(path, _)| !path.contains("collections"))
        .flat_map(|(path, item)| {
            let path = path.split('/').map(|part| if part.starts_with('{') { "none" } else { part });
            let path = path.collect::<Vec<_>>().join("/");
            let operations = item.as_object().unwrap().iter();
            operations
                .map(move |(method, operation)| (method.to_uppercase(), path.clone(), operation.clone()))
        })
        .collect()
}

fn takes_body(operation: &Json) -> bool {
    operation.get("requestBody").is_some()
}

fn faults_of(answer: &Answer) -> Vec<Json> {
    answer.expect(422)["detail"].as_array().unwrap().clone()
}

const JSON: [(&str, &str); 1] = [("content-type", "application/json")];

#[test]
fn no_route_takes_a_field_or_a_parameter_that_it_does_not_know() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let (mut bodies, mut queries) = (0, 0);
    for (method, path, operation) in operations(&admin) {
        // It would end the test's own session; it has no parameters or body.
        if path == "/api/auth/logout" {
            continue;
        }
        let what = format!("{method} {path}");
        if takes_body(&operation) {
            let answer = admin.try_send(&method, &path, &JSON, br#"{"zzz": 1, "emial": 2}"#).unwrap();
            let faults = faults_of(&answer);
            for name in ["zzz", "emial"] {
                let known = faults.iter().find(|fault| fault["loc"] == json!(["body", name]));
                assert_eq!(known.unwrap_or_else(|| panic!("{what}: {faults:?}"))["type"], "extra_forbidden");
            }
            let properties = &operation["requestBody"]["content"]["application/json"]["schema"];
            if properties["properties"].get("email").is_some() {
                let meant = faults.iter().find(|fault| fault["loc"][1] == "emial").unwrap();
                assert!(meant["msg"].as_str().unwrap().contains("did you mean email?"), "{what}: {meant}");
            }
            bodies += 1;
        }
        let answer = admin.send(&method, &format!("{path}?zzz=1&limti=2&_=3"), b"");
        let told = faults_of(&answer).iter().map(|fault| fault["loc"].to_string()).collect::<Vec<_>>();
        assert_eq!(told, [r#"["query","zzz"]"#, r#"["query","limti"]"#], "{what}");
        queries += 1;
    }
    assert!(bodies >= 15 && queries >= 40, "{bodies} bodies and {queries} queries were tried");
}

#[test]
fn a_body_is_json_and_says_so() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let others = [
        "",
        "text/plain",
        "text/plain;application/json",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "application/jsonx",
    ];
    let mut tried = 0;
    for (method, path, _) in operations(&admin).into_iter().filter(|(method, _, _)| method != "GET") {
        for content_type in others {
            let headers = [("content-type", content_type)];
            let headers = if content_type.is_empty() { &[][..] } else { &headers[..] };
            let answer = admin.try_send(&method, &path, headers, b"{\"a\":\"b\"}").unwrap();
            let expected = (415, "unsupported_media_type".to_owned());
            assert_eq!(answer.outcome(), expected, "{method} {path} {content_type:?}");
        }
        tried += 1;
    }
    assert!(tried >= 20, "{tried}");
    // A form on another site, which a browser sends without a preflight request.
    let form = br#"{"email": "root@example.com", "password": "correct horse battery", "x": "="}"#;
    let login = |content_type| {
        server.client().try_send("POST", "/api/auth/login", &[("content-type", content_type)], form).unwrap()
    };
    assert_eq!(login("text/plain").status, 415);
    assert_eq!(login("application/json; charset=utf-8").status, 422);
    assert_eq!(admin.get("/api/auth/me").status, 200, "nothing of it was done");
}

fn tag_of(answer: &Answer) -> String {
    answer.headers["etag"].to_str().unwrap().to_owned()
}

fn change(client: &Client, method: &str, path: &str, tag: &str, body: &Json) -> Answer {
    let headers = [("content-type", "application/json"), ("if-match", tag)];
    client.try_send(method, path, &headers, body.to_string().as_bytes()).unwrap()
}

const PRECONDITION: &str = "precondition_failed";

#[test]
fn of_two_who_change_the_settings_the_second_learns_of_the_first() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let path = "/api/admin/settings";
    let read = tag_of(&admin.get(path));
    let first = change(&admin, "PATCH", path, &read, &json!({"instance_name": "One"}));
    assert_eq!(first.status, 200);
    let second = change(&admin, "PATCH", path, &read, &json!({"allow_public_registration": false}));
    assert_eq!(second.outcome(), (412, PRECONDITION.into()));
    let now = admin.get(path);
    assert_eq!(now.json()["allow_public_registration"], true, "nothing of it was done");
    assert_eq!(tag_of(&now), tag_of(&first));
    let zipped = admin.try_send("GET", path, &[("accept-encoding", "gzip")], b"").unwrap();
    assert_eq!(tag_of(&zipped), tag_of(&now), "the tag is the same however it is sent");
    for (tag, status) in [("*", 200), ("W/\"x\"", 412), ("\"x\", \"y\"", 412)] {
        let answer = change(&admin, "PATCH", path, tag, &json!({"instance_name": "Two"}));
        assert_eq!(answer.status, status, "{tag}");
    }
    assert_eq!(admin.patch(path, &json!({"instance_name": "Three"})).status, 200, "nobody must name a tag");
}

#[test]
fn of_two_who_change_a_user_the_second_learns_of_the_first() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let new = json!({"email": "ada@example.com", "password": "correct horse battery"});
    let made = admin.post("/api/admin/users", &new);
    let path = format!("/api/admin/users/{}", made.expect(201)["id"].as_str().unwrap());
    assert_eq!(tag_of(&made), tag_of(&admin.get(&path)));
    let _ = server.client().signed_in("ada@example.com");
    assert_eq!(tag_of(&made), tag_of(&admin.get(&path)), "a sign-in changes nothing that is changed here");
    for body in [
        json!({"role": "viewer"}),
        json!({"password": "another horse battery"}),
        json!({"email": "a@example.com"}),
    ] {
        let read = tag_of(&admin.get(&path));
        let changed = change(&admin, "PATCH", &path, &read, &body);
        assert_eq!(changed.status, 200, "{body}");
        assert_ne!(tag_of(&changed), read, "{body}");
        for (method, other) in [("PATCH", json!({"is_active": false})), ("DELETE", json!({}))] {
            let late = change(&admin, method, &path, &read, &other);
            assert_eq!(late.outcome(), (412, PRECONDITION.into()), "{method} after {body}");
        }
    }
    let user = admin.get(&path);
    assert_eq!((&user.json()["is_active"], &user.json()["role"]), (&json!(true), &json!("viewer")));
    assert_eq!(change(&admin, "DELETE", &path, &tag_of(&user), &json!({})).status, 204);
}

#[test]
fn of_two_who_change_an_application_token_the_second_learns_of_the_first() {
    let site = Site::new();
    let server = site.serve();
    let admin = server.admin();
    let all = "/api/admin/application-tokens";
    let made = admin.post(all, &json!({"name": "t", "description": "", "scopes": ["collections:read"]}));
    let (token, tag) = (made.expect(201), tag_of(&made));
    let path = format!("{all}/{}", token["token"]["id"].as_str().unwrap());
    assert_eq!(tag, tag_of(&admin.get(&path)));
    let used = server.client().with_token(token["token_value"].as_str().unwrap());
    assert_eq!(used.get("/api/collections").status, 200);
    assert_eq!(tag, tag_of(&admin.get(&path)), "that it was used changes nothing that is changed here");
    for body in [
        json!({"name": "u"}),
        json!({"description": null}),
        json!({"scopes": ["collections:read", "collections:write"]}),
        json!({"is_active": false}),
    ] {
        let read = tag_of(&admin.get(&path));
        let changed = change(&admin, "PATCH", &path, &read, &body);
        assert_eq!(changed.status, 200, "{body}");
        assert_ne!(tag_of(&changed), read, "{body}");
        for (method, other) in [("PATCH", json!({"scopes": ["*"], "is_active": true})), ("DELETE", json!({}))]
        {
            let late = change(&admin, method, &path, &read, &other);
            assert_eq!(late.outcome(), (412, PRECONDITION.into()), "{method} after {body}");
        }
    }
    let now = admin.get(&path);
    assert_eq!((&now.json()["name"], &now.json()["is_active"]), (&json!("u"), &json!(false)));
    assert_eq!(admin.patch(&path, &json!({"name": "v"})).status, 200, "nobody must name a tag");
    assert_eq!(change(&admin, "DELETE", &path, "*", &json!({})).status, 204);
    assert_eq!(change(&admin, "DELETE", &path, "*", &json!({})).status, 404);
}

#[test]
fn of_two_who_change_an_extension_the_second_learns_of_the_first() {
    let site = Site::new();
    site.install_stress("pulse");
    let server = site.serve();
    let admin = server.admin();
    let path = "/api/admin/extensions/pulse";
    let roll_back = format!("{path}/rollback");
    let read = tag_of(&admin.get(path));
    assert_eq!(read, tag_of(&admin.get(path)));
    // All at once with one tag: they are serialized, and only the first succeeds.
    let off = json!({"is_enabled": false});
    let outcomes: Vec<u16> = std::thread::scope(|scope| {
        let send = || scope.spawn(|| change(&admin, "PATCH", path, &read, &off).status);
        let sent: Vec<_> = (0..4).map(|_| send()).collect();
        sent.into_iter().map(|one| one.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|status| **status == 200).count(), 1, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|status| **status == 412).count(), 3, "{outcomes:?}");
    for (method, path, body) in [
        ("PATCH", path, json!({"is_enabled": true})),
        ("PATCH", path, json!({"version": "*"})),
        ("DELETE", path, json!({})),
        ("POST", &*roll_back, json!({})),
    ] {
        let late = change(&admin, method, path, &read, &body);
        assert_eq!(late.outcome(), (412, PRECONDITION.into()), "{method} {path} {body}");
    }
    let now = admin.get(path);
    assert_eq!(now.json()["is_enabled"], false, "nothing of it was done");
    let on = change(&admin, "PATCH", path, &tag_of(&now), &json!({"is_enabled": true}));
    assert_eq!((on.status, on.json()["is_enabled"].as_bool()), (200, Some(true)));
    assert_eq!(tag_of(&on), tag_of(&admin.get(path)));
    assert_eq!(change(&admin, "DELETE", path, &tag_of(&on), &json!({})).status, 204);
    assert_eq!(change(&admin, "DELETE", path, "*", &json!({})).status, 404);
}

#[test]
fn what_an_extension_says_of_its_own_fault_stays_in_the_log() {
    let site = Site::new();
    site.install_stress("faults");
    let server = site.serve();
    let client = server.client();
    for (fault, status, code) in [
        ("error_500", 500, "db_sql"),
        ("error_503", 503, "broken_off"),
        ("error_504", 504, "broken_off"),
        ("error_502", 502, "broken_off"),
        ("error_507", 507, "broken_off"),
        ("error_409", 409, "db_unique"),
        ("undeclared", 500, "capability_missing"),
    ] {
        let answer = client.get(&format!("/api/faults/{fault}"));
        assert_eq!(answer.outcome(), (status, code.to_owned()), "{fault}");
        let body = String::from_utf8(answer.body.clone()).unwrap();
        assert!(!body.contains("faults_secret") && !body.contains("/srv/"), "{fault}: {body}");
        assert!(answer.json().get("details").is_none(), "{fault}: {body}");
        if status >= 500 {
            let id = answer.headers["x-request-id"].to_str().unwrap();
            server.logged(&["a request failed", id]);
        }
    }
    let told = client.get("/api/faults/error_400").expect(400);
    assert_eq!(told["detail"], "faults_secret is no name", "what is wrong with the request is told");
}

#[test]
fn pages_of_extensions_that_may_hold_scripts_run_as_nobody() {
    let site = Site::new();
    site.install_stress("faults");
    let server = site.serve();
    let hash = server.admin().get("/api/admin/extensions/faults").expect(200)["hash"].as_str().unwrap()[..16]
        .to_owned();
    let client = server.client();
    let get = |file: &str| client.get(&format!("/admin/extensions/faults/{hash}/{file}"));
    for (file, content_type) in [
        ("p.html", "text/html; charset=utf-8"),
        ("p.htm", "text/html; charset=utf-8"),
        ("p.HTML", "text/html; charset=utf-8"),
        ("%70.html", "text/html; charset=utf-8"),
        ("p.svg", "image/svg+xml"),
        ("p.xhtml", "application/octet-stream"),
        ("p.xml", "application/octet-stream"),
        ("page", "application/octet-stream"),
    ] {
        let answer = get(file);
        assert_eq!(answer.status, 200, "{file}");
        assert_eq!(answer.headers["content-type"], content_type, "{file}");
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{file}");
        let policy = answer.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("sandbox "), "{file}: {policy}");
    }
    for (file, content_type) in [
        ("p.js", "text/javascript; charset=utf-8"),
        ("p.css", "text/css; charset=utf-8"),
        ("p.png", "image/png"),
    ] {
        let answer = get(file);
        assert_eq!((answer.status, answer.headers["content-type"].to_str().unwrap()), (200, content_type));
        assert_eq!(answer.headers["x-content-type-options"], "nosniff", "{file}");
        assert!(!answer.headers.contains_key("content-security-policy"), "{file}");
    }
    for other in [
        "p.html/",
        "p.html/.",
        "./p.html",
        "p.html%2f",
        "x/../p.html",
        "x/%2e%2e/p.html",
        "/p.html",
        "p.Html",
        "",
    ] {
        assert_eq!(get(other).status, 404, "{other:?}");
    }
}

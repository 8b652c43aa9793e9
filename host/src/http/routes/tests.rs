//! Tests of what the table accepts, refuses and finds.

use futures_util::{FutureExt, future::BoxFuture};
use http::StatusCode;

use super::*;
use crate::{
    error::ApiError,
    http::plugin_route::{PluginRequest, PluginResponse, RouteSpec},
};

struct Stub(RouteSpec);

impl PluginRoute for Stub {
    fn spec(&self) -> &RouteSpec {
        &self.0
    }

    fn call(&self, _: PluginRequest) -> BoxFuture<'static, Result<PluginResponse, ApiError>> {
        async { Ok(PluginResponse::json(StatusCode::OK, "{}")) }.boxed()
    }
}

fn stub(names: &[&str]) -> Arc<dyn PluginRoute> {
    let param_names = names.iter().map(|&name| name.to_owned()).collect();
    Arc::new(Stub(RouteSpec { param_names, ..RouteSpec::default() }))
}

fn table() -> RouteTable {
    let mut table = RouteTable::new();
    let routes: [(Method, &str, &[&str]); 6] = [
        (Method::GET, "/api/collections", &[]),
        (Method::POST, "/api/collections", &[]),
        (Method::GET, "/api/collections/{name}", &["name"]),
        (Method::DELETE, "/api/collections/{collection}", &["collection"]),
        (Method::GET, "/api/collections/{name}/records/{id}", &["name", "id"]),
        (Method::GET, "/files/{*key}", &["key"]),
    ];
    for (method, pattern, names) in routes {
        table.insert(method, pattern, stub(names)).unwrap();
    }
    table
}

fn told(found: &Found, path: &str) -> String {
    match found {
        Found::Route(matched) => {
            let params: Vec<_> =
                (0..matched.params.len()).map(|at| matched.params.get(path, at).unwrap()).collect();
            format!("{:?} {params:?}", matched.route.spec().param_names)
        }
        Found::WrongMethod { allow } => format!("405 {}", allow.to_str().unwrap()),
        Found::BadPath => "400".to_owned(),
        Found::Missing => "404".to_owned(),
    }
}

#[test]
fn a_path_finds_its_route() {
    let cases = [
        ("GET", "/api/collections", "[] []"),
        ("GET", "/api/collections/", "[] []"),
        ("HEAD", "/api/collections", "[] []"),
        ("PUT", "/api/collections", "405 GET, HEAD, OPTIONS, POST"),
        ("GET", "/api/collections/posts", r#"["name"] ["posts"]"#),
        ("DELETE", "/api/collections/posts", r#"["collection"] ["posts"]"#),
        ("POST", "/api/collections/posts", "405 DELETE, GET, HEAD, OPTIONS"),
        ("GET", "/api/collections/p%20s/records/%C3%BC", r#"["name", "id"] ["p s", "ü"]"#),
        ("GET", "/api/collections/p/records/a%2Fb", r#"["name", "id"] ["p", "a/b"]"#),
        ("GET", "/api/collections/p/records/%00", "400"),
        ("GET", "/api/collections/%ff/records/1", "400"),
        ("GET", "/api/collections/p/records/%c0%af", "400"),
        ("GET", "/api/collections/p/records/", "404"),
        ("GET", "/api/collections//records/1", "404"),
        ("GET", "/files/a/b.txt", r#"["key"] ["a/b.txt"]"#),
        ("GET", "/api/nothing", "404"),
        ("GET", "/", "404"),
    ];
    let table = table();
    for (method, path, expected) in cases {
        let found = table.find(&Method::from_bytes(method.as_bytes()).unwrap(), path);
        assert_eq!(told(&found, path), expected, "{method} {path}");
    }
}

#[test]
fn what_would_take_anothers_path_is_refused() {
    let cases: [(&str, &[&str], &str); 44] = [
        ("/api/collections", &[], "conflicts with the registered \"/api/collections\""),
        ("/api/collections/{other}", &["other"], "conflicts with the registered \"/api/collections/{name}\""),
        ("/files/{*other}", &["other"], "conflicts with the registered"),
        ("/files/{id}/x/{*other}", &["id"], "its parameters are"),
        ("/", &[], "belongs to the host"),
        ("/health", &[], "belongs to the host"),
        ("/admin", &[], "belongs to the host"),
        ("/admin/x", &[], "belongs to the host"),
        ("/api/auth/me", &[], "belongs to the host"),
        ("/api/auth", &[], "belongs to the host"),
        ("/{any}", &["any"], "belongs to the host"),
        ("/{*any}", &["any"], "belongs to the host"),
        ("/api/{any}/x", &["any"], "belongs to the host"),
        ("/api/admin/{any}", &["any"], "belongs to the host"),
        ("/api/x{any}", &["any"], "belongs to the host"),
        ("api/x", &[], "must begin with /"),
        ("/api/x/", &[], "must not end in /"),
        ("/api/x/{", &[], "has no }"),
        ("/api/x/{a}/{a}", &["a", "a"], "a word of its own"),
        ("/api/x//y", &[], "empty segment"),
        ("/api/admin/users", &[], "belongs to the host"),
        ("/api/admin/users/{id}", &["id"], "belongs to the host"),
        ("/api/admin/users/{id}/more", &["id"], "belongs to the host"),
        ("/api/admin/settings", &[], "belongs to the host"),
        ("/api/admin/settings/{*rest}", &["rest"], "belongs to the host"),
        ("/api/admin/extensions/x", &[], "belongs to the host"),
        ("/api/admin/application-tokens", &[], "belongs to the host"),
        ("/api/admin", &[], "belongs to the host"),
        ("/api/admin/{*rest}", &["rest"], "belongs to the host"),
        ("/api/{*rest}", &["rest"], "belongs to the host"),
        ("/api/admin/us{x}", &["x"], "belongs to the host"),
        ("/API/Admin/Users", &[], "belongs to the host"),
        ("/Api/{x}", &["x"], "belongs to the host"),
        ("/docs/app.js", &[], "belongs to the host"),
        ("/docs/{*file}", &["file"], "belongs to the host"),
        ("/docs", &[], "belongs to the host"),
        ("/metrics/x", &[], "belongs to the host"),
        ("/openapi.json", &[], "belongs to the host"),
        ("/.well-known/jwks.json", &[], "belongs to the host"),
        ("/api/x/../auth/me", &[], "no segment . or .."),
        ("/api/./auth/me", &[], "no segment . or .."),
        ("/api/%61uth/me", &[], "%"),
        ("/api\\auth\\me", &[], "\\"),
        ("/api/x\ty", &[], "blank"),
    ];
    let mut table = table();
    for (pattern, names, expected) in cases {
        let refused = table.insert(Method::GET, pattern, stub(names)).unwrap_err().to_string();
        assert!(refused.contains(expected), "{pattern}: {refused}");
    }
    assert_eq!(table.iter().count(), 6, "a refused route leaves nothing behind");
    table.insert(Method::GET, "/authors", stub(&[])).unwrap();
    table.insert(Method::GET, "/api/admin/functions/metrics", stub(&[])).unwrap();
}

#[test]
fn every_route_of_the_host_lies_in_its_trees() {
    let matrix = include_str!("../../../../tests/access.matrix");
    let routes =
        matrix.lines().filter_map(|line| line.split_whitespace().nth(1)).filter(|path| path.starts_with('/'));
    let mut count = 0;
    for path in routes.filter(|path| !path.contains("/collections")) {
        let is_covered = path == "/" || boundary::HOST_TREES.iter().any(|tree| takes_paths_below(path, tree));
        assert!(
            is_covered,
            "{path} is a route of the host and not in tinybase_package::boundary::HOST_TREES"
        );
        count += 1;
    }
    assert!(count > 30, "{count} routes were looked at");
}

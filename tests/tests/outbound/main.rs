//! Requests of an extension to other servers, with and without TLS, on the real server. Which addresses may be reached
//! is covered by the host's own tests.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::json;
use tinybase_tests::{Site, root};

/// A server that responds over TLS with a certificate for `localhost`, made for this test and trusted by nothing else.
const TLS_SERVER: &str = "
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        self.send_response(200)
        self.send_header('content-length', '5')
        self.end_headers()
        self.wfile.write(b'hello')
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_address[1], flush=True)
server.serve_forever()
";

struct TlsServer {
    process: Child,
    port: u16,
}

impl TlsServer {
    fn start(folder: &Path) -> TlsServer {
        let mut process = Command::new("python3")
            .args(["-c", TLS_SERVER])
            .args([folder.join("localhost.pem"), folder.join("localhost.key")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("the tests have Python");
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        TlsServer { process, port: line.trim().parse().unwrap() }
    }
}

impl Drop for TlsServer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn certificates() -> PathBuf {
    root().join("tests/tests/outbound")
}

#[test]
fn https_is_spoken_with_whom_the_system_trusts() {
    let tls = TlsServer::start(&certificates());
    let url = |host: &str| json!(format!("https://{host}:{}/in?key=hunter2", tls.port));
    let mut site = Site::new();
    site.set("TINYBASE_PLUGINS_HTTP_ALLOW_NETWORKS", "127.0.0.0/8");
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
    site.set("TINYBASE_LOG_LEVEL", "debug");
    site.set("SSL_CERT_FILE", "/no/such/file");
    site.install_stress("neighbour");
    let server = site.serve();
    let plain = json!(format!("http://{}/healthz", server.address()));
    assert_eq!(
        server.client().post("/api/neighbour/ask", &plain).expect(200)[0],
        200,
        "http needs no certificates"
    );
    let refused = server.client().post("/api/neighbour/ask", &url("localhost"));
    assert_eq!(refused.outcome(), (502, "http_failed".into()), "nobody trusts its root");
    server.logged(&["http_failed", "certificate"]);
    drop(server);

    site.set("SSL_CERT_FILE", certificates().join("ca.pem").to_str().unwrap());
    let server = site.serve();
    let client = server.client();
    assert_eq!(client.post("/api/neighbour/ask", &url("localhost")).expect(200), json!([200, "hello"]));
    let other_name = client.post("/api/neighbour/ask", &url("127.0.0.1"));
    assert_eq!(other_name.outcome(), (502, "http_failed".into()), "the certificate is for localhost");
    for body in [&refused.body, &other_name.body] {
        assert!(!String::from_utf8_lossy(body).contains("hunter2"), "{}", String::from_utf8_lossy(body));
    }
    let log = server.log().join("\n");
    assert!(!log.contains("hunter2"), "{log}");
}

#[test]
fn a_refusal_is_answered_as_it_is_told() {
    let mut site = Site::new();
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
    site.install_stress("neighbour");
    let server = site.serve();
    let client = server.client();
    for (url, expected) in [
        (format!("http://{}/health", server.address()), (403, "http_denied_address")),
        ("http://169.254.169.254/latest/meta-data".to_owned(), (403, "http_denied_address")),
        ("http://[::1]:1/".to_owned(), (403, "http_denied_address")),
        ("gopher://example.org/".to_owned(), (422, "http_url_invalid")),
        ("http://name.invalid/".to_owned(), (502, "http_failed")),
    ] {
        let refused = client.post("/api/neighbour/ask", &json!(url)).outcome();
        assert_eq!(refused, (expected.0, expected.1.into()), "{url}");
    }
}

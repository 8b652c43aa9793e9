//! Traces on the real server: what a collector receives about a request, and the server's behavior when its collector
//! fails.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse},
    common::v1::{KeyValue, any_value::Value},
    trace::v1::Span,
};
use prost::Message;
use serde_json::json;
use tinybase_tests::{Client, Site};

/// The kind of a span that serves a request, and the status of a failed span.
const KIND_SERVER: i32 = 2;
const STATUS_ERROR: i32 = 2;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A collector that keeps what it receives.
struct Collector {
    address: String,
    batches: Arc<Mutex<Vec<ExportTraceServiceRequest>>>,
}

impl Collector {
    fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let batches = Arc::default();
        let kept = Arc::clone(&batches);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || receive(stream.unwrap(), &kept));
            }
        });
        Collector { address, batches }
    }

    /// Returns the spans so far, each with the attributes of its resource.
    fn spans(&self) -> Vec<Seen> {
        let batches = self.batches.lock().unwrap();
        let resources = batches.iter().flat_map(|batch| &batch.resource_spans);
        resources
            .flat_map(|sent| {
                let resource = texts(&sent.resource.as_ref().unwrap().attributes);
                let spans = sent.scope_spans.iter().flat_map(|scope| scope.spans.clone());
                spans.map(move |span| Seen {
                    attributes: texts(&span.attributes),
                    resource: resource.clone(),
                    span,
                })
            })
            .collect()
    }

    fn site(&self) -> Site {
        let mut site = Site::new();
        site.set("TINYBASE_TELEMETRY_OTLP_ENDPOINT", &format!("http://{}", self.address));
        site
    }
}

/// Reads batches from a connection until it closes. Anything other than OTLP over HTTP fails, and so reaches no test.
fn receive(stream: TcpStream, batches: &Mutex<Vec<ExportTraceServiceRequest>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if reader.read_line(&mut head).unwrap() == 0 {
                return;
            }
        }
        let head = head.to_lowercase();
        assert!(head.starts_with("post /v1/traces http/1.1\r\n"), "{head}");
        let header = |name: &str| {
            head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": ")).unwrap().trim()
        };
        assert_eq!(header("content-type"), "application/x-protobuf");
        let mut body = vec![0; header("content-length").parse().unwrap()];
        reader.read_exact(&mut body).unwrap();
        batches.lock().unwrap().push(ExportTraceServiceRequest::decode(&body[..]).unwrap());
        let answer = ExportTraceServiceResponse::default().encode_to_vec();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: ";
        let stream = reader.get_mut();
        stream.write_all(format!("{head}{}\r\n\r\n", answer.len()).as_bytes()).unwrap();
        stream.write_all(&answer).unwrap();
    }
}

/// A received span.
#[derive(Debug)]
struct Seen {
    span: Span,
    attributes: HashMap<String, String>,
    resource: HashMap<String, String>,
}

impl Seen {
    fn attribute(&self, name: &str) -> &str {
        self.attributes.get(name).map(String::as_str).unwrap_or_default()
    }

    fn is_below(&self, parent: &Seen) -> bool {
        self.span.trace_id == parent.span.trace_id && self.span.parent_span_id == parent.span.span_id
    }
}

fn texts(attributes: &[KeyValue]) -> HashMap<String, String> {
    let text = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|any| any.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| (attribute.key.clone(), text(attribute))).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn named<'s>(spans: &'s [Seen], name: &str) -> &'s Seen {
    let found: Vec<_> = spans.iter().filter(|seen| seen.span.name == name).collect();
    assert_eq!(found.len(), 1, "{name} in {spans:#?}");
    found[0]
}

fn get(client: &Client, path: &str, headers: &[(&str, &str)]) -> u16 {
    client.try_send("GET", path, headers, b"").unwrap().status
}

#[test]
fn a_request_is_a_span_with_what_was_done_for_it_below() {
    let collector = Collector::start();
    let mut site = collector.site();
    site.set("TINYBASE_TELEMETRY_SERVICE_NAME", "shop");
    site.install_stress("faults");
    let server = site.serve();
    let schema = json!({"fields": [{"name": "title", "type": "string"}]});
    let posts = json!({"name": "posts", "label": "Posts", "schema": schema});
    server.admin().post("/api/collections", &posts).expect(201);
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    let headers = [("traceparent", traceparent.as_str()), ("x-request-id", "one"), ("x-key", "h-secret")];
    let client = server.client();
    assert_eq!(get(&client, "/api/collections/posts/records?sort_by=q-secret", &headers), 422);
    assert_eq!(get(&client, "/api/collections/posts/records?limit=5", &headers), 200);
    assert_eq!(get(&client, "/api/faults/panic_in_future", &[]), 500);
    assert_eq!(get(&client, "/no/such/path", &[]), 404);
    let line = server.logged(&["request failed"]);
    assert!(line.contains("request{request_id=") && !line.contains("traced"), "{line}");
    assert!(server.stop().success());
    // Pending spans were sent before the server ended.
    let spans = collector.spans();
    let pattern = "GET /api/collections/{name}/records";
    let listed: Vec<_> = spans.iter().filter(|seen| seen.span.name == pattern).collect();
    let statuses: Vec<_> = listed.iter().map(|seen| seen.attribute("http.response.status_code")).collect();
    assert_eq!(statuses, ["422", "200"]);
    let request = listed[1];
    assert_eq!(
        (hex(&request.span.trace_id).as_str(), hex(&request.span.parent_span_id).as_str()),
        (TRACE, CALLER)
    );
    assert_eq!(request.span.kind, KIND_SERVER);
    for (name, value) in [
        ("http.request.method", "GET"),
        ("http.route", "/api/collections/{name}/records"),
        ("url.path", "/api/collections/posts/records"),
        ("client.address", "127.0.0.1"),
        ("tinybase.request_id", "one"),
    ] {
        assert_eq!(request.attribute(name), value, "{name}");
    }
    assert_eq!(request.resource["service.name"], "shop");
    assert!(request.span.end_time_unix_nano > request.span.start_time_unix_nano);
    let plugin = spans.iter().find(|seen| seen.is_below(request) && seen.span.name == "collections");
    let plugin = plugin.unwrap_or_else(|| panic!("the extension's call is seen: {spans:#?}"));
    let reads: Vec<_> = spans.iter().filter(|seen| seen.is_below(plugin)).collect();
    assert!(!reads.is_empty(), "the extension's reads are below it: {spans:#?}");
    for read in reads {
        assert_eq!((read.span.name.as_str(), read.attribute("tinybase.scope")), ("db.query", "collections"));
        let system = if site.database_url().is_some() { "postgresql" } else { "sqlite" };
        assert_eq!(read.attribute("db.system.name"), system);
    }
    let login = named(&spans, "POST /api/auth/login");
    assert!(login.span.parent_span_id.is_empty(), "it continues no trace");
    let below = spans.iter().filter(|seen| seen.is_below(login)).collect::<Vec<_>>();
    assert!(below.iter().any(|seen| seen.attribute("tinybase.scope") == "host"), "{below:?}");
    let failed = named(&spans, "GET /api/faults/{fault}");
    assert_eq!(failed.span.status.as_ref().unwrap().code, STATUS_ERROR);
    let lost = named(&spans, "GET");
    assert_eq!((lost.attribute("url.path"), lost.attribute("http.route")), ("/no/such/path", ""));
    assert!(!format!("{spans:?}").contains("secret"));
}

#[test]
fn a_request_to_another_server_is_a_span_without_what_it_asks() {
    let collector = Collector::start();
    let mut site = collector.site();
    site.set("TINYBASE_PLUGINS_HTTP_ALLOW_NETWORKS", "127.0.0.1");
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "10000");
    site.install_stress("neighbour");
    let server = site.serve();
    let ask = |url: String| server.client().post("/api/neighbour/ask", &json!(url)).status;
    let address = server.address().to_owned();
    assert_eq!(ask(format!("http://{address}/health/p-secret?key=q-secret")), 200);
    assert_eq!(ask("http://10.0.0.1/p-secret".to_owned()), 403);
    assert!(server.stop().success());
    let spans = collector.spans();
    let sent: Vec<_> = spans.iter().filter(|seen| seen.span.name == "http.send").collect();
    let told = |name: &str| sent.iter().map(|seen| seen.attribute(name)).collect::<Vec<_>>();
    assert_eq!(told("server.address"), [address.as_str(), "10.0.0.1"]);
    assert_eq!(told("http.request.method"), ["GET", "GET"]);
    assert_eq!(told("http.response.status_code"), ["404", ""]);
    assert_eq!(told("error.type"), ["", "http_denied_address"]);
    let asked: Vec<_> = spans.iter().filter(|seen| seen.span.name == "neighbour").collect();
    assert!(sent.iter().all(|seen| asked.iter().any(|plugin| seen.is_below(plugin))), "{spans:#?}");
    assert!(!format!("{sent:?}").contains("secret"), "{sent:#?}");
}

#[test]
fn the_caller_chooses_else_chance() {
    let collector = Collector::start();
    let flagged = |flags: &str| format!("00-{TRACE}-{CALLER}-{flags}");
    for (ratio, parent, is_traced) in [
        ("0", None, false),
        ("0", Some(flagged("01")), true),
        ("1", None, true),
        ("1", Some(flagged("00")), false),
        ("1", Some("00-nonsense-01".to_owned()), true),
    ] {
        collector.batches.lock().unwrap().clear();
        let mut site = collector.site();
        site.set("TINYBASE_TELEMETRY_SAMPLE_RATIO", ratio);
        let server = site.serve();
        let headers: Vec<_> = parent.iter().map(|parent| ("traceparent", parent.as_str())).collect();
        assert_eq!(get(&server.client(), "/api/auth/setup-status", &headers), 200);
        server.stop();
        let spans = collector.spans();
        let found = spans.iter().any(|seen| seen.span.name == "GET /api/auth/setup-status");
        assert_eq!((found, spans.is_empty()), (is_traced, !is_traced), "{ratio} {parent:?}: {spans:?}");
    }
}

#[test]
fn a_server_works_and_ends_without_its_collector() {
    let mut site = Site::new();
    for url in ["https://127.0.0.1:4318", "127.0.0.1:4318", "http://127.0.0.1:4318/?x=y"] {
        site.set("TINYBASE_TELEMETRY_OTLP_ENDPOINT", url);
        assert!(site.serve_in_vain().errors.contains("TINYBASE_TELEMETRY_OTLP_ENDPOINT"), "{url}");
    }
    // It accepts connections and never responds.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    site.set("TINYBASE_TELEMETRY_OTLP_ENDPOINT", &format!("http://{}", silent.local_addr().unwrap()));
    let server = site.serve();
    server.admin().get("/api/auth/me").expect(200);
    let asked = Instant::now();
    assert!(server.stop().success());
    assert!(asked.elapsed() < Duration::from_secs(10), "it ends after {:?}", asked.elapsed());
    let address = silent.local_addr().unwrap();
    drop(silent);
    site.set("TINYBASE_TELEMETRY_OTLP_ENDPOINT", &format!("http://{address}"));
    let server = site.serve();
    server.admin().get("/api/auth/me").expect(200);
    server.logged(&["WARN", "traces cannot be sent to telemetry.otlp_endpoint"]);
    server.admin().get("/api/auth/me").expect(200);
    assert!(server.stop().success());
}

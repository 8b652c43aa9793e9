//! A test server with a plugin for the tests, and a raw client.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture, stream};
use http::{HeaderMap, HeaderName, Method, StatusCode};
use serde_json::Value as Json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, oneshot},
    task::JoinHandle,
};

use crate::{
    accounts::Role,
    config::Config,
    error::ApiError,
    http::{
        Access, App, Authenticate, BodyMode, Caller, DescribedRoute, Drained, Found, HostRoutes, Limits,
        PluginBody, PluginDispatch, PluginRequest, PluginResponse, PluginRoute, RequestBody, RouteAuth,
        RouteSpec, RouteTable, serve,
    },
};

/// A timeout far above any expected duration; exceeding it fails the test.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// The plugin's body limit on `/api/small`.
pub(super) const SMALL_BYTES_MAX: usize = 16;

/// The sizes of `/api/big` and `/api/huge` in bytes.
pub(super) const BIG_BYTES: usize = 100_000;
pub(super) const HUGE_BYTES: usize = 64 << 20;

type Called = BoxFuture<'static, Result<PluginResponse, ApiError>>;
type Handler = Box<dyn Fn(PluginRequest) -> Called + Send + Sync>;

struct TestRoute(RouteSpec, Handler);

impl PluginRoute for TestRoute {
    fn spec(&self) -> &RouteSpec {
        &self.0
    }

    fn call(&self, request: PluginRequest) -> Called {
        (self.1)(request)
    }
}

struct TestPlugins(RouteTable);

impl PluginDispatch for TestPlugins {
    fn find(&self, method: &Method, path: &str) -> Found {
        self.0.find(method, path)
    }

    fn described(&self) -> Vec<DescribedRoute> {
        self.0.described()
    }

    fn generation(&self) -> u64 {
        1
    }

    fn collect<'a>(&'a self, _topic: &'a str, _payload: Json) -> BoxFuture<'a, Vec<(String, Json)>> {
        Box::pin(async { Vec::new() })
    }
}

struct TestTokens;

impl Authenticate for TestTokens {
    fn authenticate<'a>(&'a self, token: &'a str) -> BoxFuture<'a, Result<Arc<Caller>, ApiError>> {
        let caller = move |role| Arc::new(Caller { role, ..Caller::of_test(token) });
        Box::pin(async move {
            match token {
                "user" => Ok(caller(Role::User)),
                "admin" => Ok(caller(Role::Admin)),
                _ => Err(ApiError::unauthorized("token_invalid", "the token is not valid; sign in again")),
            }
        })
    }
}

/// The signals between a test and the plugin's routes.
#[derive(Default)]
pub(super) struct Signals {
    /// `/api/gate` has been called.
    pub(super) entered: Notify,
    /// `/api/gate` may return.
    pub(super) open: Notify,
    /// The number of bytes that `/api/endless` has produced.
    pub(super) made: AtomicUsize,
    /// A response of `/api/endless` was dropped.
    pub(super) given_up: Notify,
}

fn route(table: &mut RouteTable, method: Method, pattern: &str, spec: RouteSpec, handler: Handler) {
    table.insert(method, pattern, Arc::new(TestRoute(spec, handler))).unwrap();
}

fn text(body: impl Into<Bytes>) -> Result<PluginResponse, ApiError> {
    Ok(PluginResponse::json(StatusCode::OK, body))
}

async fn echo(request: PluginRequest) -> Result<PluginResponse, ApiError> {
    let params: Vec<_> = (0..request.params.len()).map(|index| request.param(index)).collect();
    let told = serde_json::json!({
        "params": params,
        "query": request.query(),
        "caller": request.caller.as_ref().map(|caller| caller.user_id.as_str()),
        "request_id": request.request_id.as_str(),
        "body_bytes": match &request.body {
            RequestBody::Bytes(bytes) => bytes.len(),
            RequestBody::Stream(_) => 0,
        },
    });
    text(told.to_string())
}

async fn count_stream(request: PluginRequest) -> Result<PluginResponse, ApiError> {
    let RequestBody::Stream(mut pieces) = request.body else { panic!("the route asked for a stream") };
    let mut bytes = 0;
    while let Some(piece) = pieces.next().await {
        match piece {
            Ok(piece) => bytes += piece.len(),
            Err(error) => return Err(ApiError::bad_request("broken", error.to_string())),
        }
    }
    text(bytes.to_string())
}

async fn stream_back(_: PluginRequest) -> Result<PluginResponse, ApiError> {
    let pieces =
        stream::iter(["one ", "two ", "three"]).map(|piece| Ok(Bytes::from_static(piece.as_bytes())));
    let mut response = PluginResponse::json(StatusCode::OK, "");
    response.body = PluginBody::Stream(Box::pin(pieces));
    Ok(response)
}

/// Signals when its owner is dropped.
struct GivenUp(Arc<Signals>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.given_up.notify_one();
    }
}

fn endless(signals: Arc<Signals>) -> PluginResponse {
    let piece = Bytes::from(vec![b'x'; 32 << 10]);
    let given_up = GivenUp(signals);
    let pieces = stream::repeat_with(move || {
        given_up.0.made.fetch_add(piece.len(), Ordering::Relaxed);
        Ok(piece.clone())
    });
    let mut response = PluginResponse::json(StatusCode::OK, "");
    response.body = PluginBody::Stream(Box::pin(pieces));
    response
}

async fn odd(request: PluginRequest) -> Result<PluginResponse, ApiError> {
    let status = request.param(0).unwrap().parse().map(StatusCode::from_u16).unwrap().unwrap();
    let mut response = PluginResponse::json(status, "{}");
    for (name, value) in [("connection", "close"), ("content-length", "999"), ("x-kept", "yes")] {
        response.headers.insert(name, value.parse().unwrap());
    }
    Ok(response)
}

/// Returns a response with the headers that the body lists, one per line.
async fn answer_with(request: PluginRequest) -> Result<PluginResponse, ApiError> {
    let RequestBody::Bytes(lines) = request.body else { panic!("the route asked for a whole body") };
    let mut headers = HeaderMap::new();
    for line in std::str::from_utf8(&lines).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    Ok(PluginResponse { status: StatusCode::OK, headers, body: PluginBody::Empty })
}

fn plugins(signals: &Arc<Signals>) -> TestPlugins {
    let (get, post) = (Method::GET, Method::POST);
    let named = |names: &[&str]| RouteSpec {
        param_names: names.iter().map(|&name| name.to_owned()).collect(),
        ..RouteSpec::default()
    };
    let auth = |auth| RouteSpec { access: Access { auth, scope: "test".into() }, ..RouteSpec::default() };
    let mut table = RouteTable::new();
    let t = &mut table;
    route(t, get.clone(), "/api/echo/{name}", named(&["name"]), Box::new(|r| Box::pin(echo(r))));
    route(t, post.clone(), "/api/echo", named(&[]), Box::new(|r| Box::pin(echo(r))));
    let with_cookies = RouteSpec { cookie_paths: vec!["/api/answer".into()], ..RouteSpec::default() };
    route(t, post.clone(), "/api/answer", with_cookies, Box::new(|r| Box::pin(answer_with(r))));
    let small = RouteSpec { body_bytes_max: Some(SMALL_BYTES_MAX), ..RouteSpec::default() };
    route(t, post.clone(), "/api/small", small, Box::new(|r| Box::pin(echo(r))));
    let streamed = RouteSpec { body: BodyMode::Streamed, ..RouteSpec::default() };
    route(t, post, "/api/count", streamed, Box::new(|r| Box::pin(count_stream(r))));
    route(t, get.clone(), "/api/stream", named(&[]), Box::new(|r| Box::pin(stream_back(r))));
    route(t, get.clone(), "/api/odd/{status}", named(&["status"]), Box::new(|r| Box::pin(odd(r))));
    route(t, get.clone(), "/api/user", auth(RouteAuth::User), Box::new(|r| Box::pin(echo(r))));
    route(t, get.clone(), "/api/boss", auth(RouteAuth::Admin), Box::new(|r| Box::pin(echo(r))));
    route(t, get.clone(), "/api/never", named(&[]), Box::new(|_| Box::pin(std::future::pending())));
    route(t, get.clone(), "/api/panics", named(&[]), Box::new(|_| panic!("on purpose")));
    route(
        t,
        get.clone(),
        "/api/panics-later",
        named(&[]),
        Box::new(|_| Box::pin(async { panic!("on purpose") })),
    );
    let big = Bytes::from("\"0123456789 ".repeat(BIG_BYTES / 12 + 1)).slice(..BIG_BYTES);
    route(
        t,
        get.clone(),
        "/api/big",
        named(&[]),
        Box::new(move |_| Box::pin(std::future::ready(text(big.clone())))),
    );
    let huge = Bytes::from(vec![b'x'; HUGE_BYTES]);
    route(
        t,
        get.clone(),
        "/api/huge",
        named(&[]),
        Box::new(move |_| Box::pin(std::future::ready(text(huge.clone())))),
    );
    let endless_signals = Arc::clone(signals);
    let endless = move |_| {
        let answer = endless(Arc::clone(&endless_signals));
        let called: Called = Box::pin(std::future::ready(Ok(answer)));
        called
    };
    route(t, get.clone(), "/api/endless", named(&[]), Box::new(endless));
    let signals = Arc::clone(signals);
    let gate = move |_| {
        let signals = Arc::clone(&signals);
        let called: Called = Box::pin(async move {
            signals.entered.notify_one();
            signals.open.notified().await;
            text("\"through\"")
        });
        called
    };
    route(t, get, "/api/gate", named(&[]), Box::new(gate));
    TestPlugins(table)
}

/// The differences of a test's server from the default one.
#[derive(Default)]
pub(super) struct Setup {
    pub(super) config: Config,
    pub(super) limits: Option<Limits>,
    pub(super) host: HostRoutes,
}

/// A running server.
pub(super) struct TestServer {
    pub(super) port: u16,
    pub(super) signals: Arc<Signals>,
    stop: Option<oneshot::Sender<()>>,
    running: JoinHandle<Drained>,
}

impl TestServer {
    pub(super) async fn start() -> TestServer {
        TestServer::start_with(Setup::default()).await
    }

    pub(super) async fn start_limited(limits: Limits) -> TestServer {
        TestServer::start_with(Setup { limits: Some(limits), ..Setup::default() }).await
    }

    pub(super) async fn start_with(setup: Setup) -> TestServer {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let signals = Arc::new(Signals::default());
        let mut app = App::new(&setup.config, Arc::new(plugins(&signals)), Arc::new(TestTokens), setup.host);
        if let Some(limits) = setup.limits {
            app = app.with_limits(limits);
        }
        let (stop, stopped) = oneshot::channel();
        let running = tokio::spawn(serve(listener, Arc::new(app), async {
            let _ = stopped.await;
        }));
        TestServer { port, signals, stop: Some(stop), running }
    }

    /// Stops the server.
    pub(super) fn stop(&mut self) {
        self.stop.take().expect("a server is stopped once").send(()).unwrap();
    }

    /// Waits for the server to end.
    pub(super) async fn ended(self) -> Drained {
        patiently(self.running).await.unwrap()
    }

    pub(super) async fn connect(&self) -> TcpStream {
        patiently(TcpStream::connect(("127.0.0.1", self.port))).await.unwrap()
    }

    /// Connects from another address of this machine.
    pub(super) async fn connect_from(&self, address: [u8; 4]) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        patiently(socket.connect(([127, 0, 0, 1], self.port).into())).await.unwrap()
    }

    /// Sends `request` unchanged and reads until the server closes.
    pub(super) async fn raw(&self, request: impl AsRef<[u8]>) -> String {
        let mut socket = self.connect().await;
        // The server may refuse before it has read everything; only its response matters.
        let _ = socket.write_all(request.as_ref()).await;
        read_to_end(&mut socket).await
    }

    /// Sends one request with the given request line and headers, and reads the response.
    pub(super) async fn ask(&self, line: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut request = format!("{line} HTTP/1.1\r\nhost: test\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !body.is_empty() {
            request.push_str(&format!("content-length: {}\r\n", body.len()));
        }
        Reply::parse(&self.raw(format!("{request}\r\n{body}")).await)
    }

    pub(super) async fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), &[], "").await
    }
}

/// Awaits work that must finish within [`PATIENCE`].
pub(super) async fn patiently<F: Future>(work: F) -> F::Output {
    tokio::time::timeout(PATIENCE, work).await.expect("it came within the test's patience")
}

/// Reads until the received text ends with `end`.
pub(super) async fn read_until(socket: &mut TcpStream, end: &str) {
    let (mut answer, mut byte) = (Vec::new(), [0]);
    while !answer.ends_with(end.as_bytes()) {
        assert_eq!(
            patiently(socket.read(&mut byte)).await.unwrap(),
            1,
            "{}",
            String::from_utf8_lossy(&answer)
        );
        answer.push(byte[0]);
    }
}

/// Reads everything until the server closes; invalid UTF-8 is replaced.
pub(super) async fn read_to_end(socket: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = patiently(socket.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// One response, as text.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Reply {
    pub(super) fn parse(answer: &str) -> Reply {
        let (head, body) =
            answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer, but {answer:?}"));
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        // Names are compared in lower case, as HTTP/1 writes them here; values keep their case.
        Reply { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }

    pub(super) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Returns status and code, and checks the common properties of every error.
    pub(super) fn refusal(&self) -> (u16, String) {
        assert_eq!(self.header("content-type"), Some("application/json"), "{self:?}");
        assert!(self.header("x-request-id").is_some(), "{self:?}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{self:?}");
        let json = self.json();
        assert!(json["detail"].is_string(), "{self:?}");
        (self.status, json["code"].as_str().unwrap().to_owned())
    }
}

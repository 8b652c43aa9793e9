//! A receiver of webhooks on loopback: keeps what it receives, responds as the test says, and checks signatures with
//! its own implementation of the specification.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::Value as Json;
use sha2::Sha256;

/// The maximum wait for anything.
const PATIENCE: Duration = Duration::from_secs(40);

/// The reply to a request.
#[derive(Debug, Clone, Copy)]
pub enum Reply {
    /// This status.
    Status(u16),
    /// No reply, while the connection stays open.
    Hang,
}

/// A received request.
#[derive(Debug, Clone)]
pub struct Received {
    /// The first line.
    pub line: String,
    headers: HashMap<String, String>,
    /// The body.
    pub body: String,
}

impl Received {
    /// Returns a header by its lower-case name.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns the message's id.
    pub fn id(&self) -> &str {
        self.header("webhook-id")
    }

    /// Returns the body as JSON.
    pub fn json(&self) -> Json {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Returns whether one of its signatures was made with this secret.
    pub fn is_signed_by(&self, secret: &str) -> bool {
        let key = BASE64.decode(secret.strip_prefix("whsec_").unwrap()).unwrap();
        let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
        mac.update(format!("{}.{}.{}", self.id(), self.header("webhook-timestamp"), self.body).as_bytes());
        let expected = format!("v1,{}", BASE64.encode(mac.finalize().into_bytes()));
        self.header("webhook-signature").split(' ').any(|signature| signature == expected)
    }
}

#[derive(Default)]
struct State {
    received: Vec<Received>,
    replies: VecDeque<Reply>,
    otherwise: Option<Reply>,
    hanging: Vec<TcpStream>,
}

/// The receiver. It ends with the test's process.
pub struct Receiver {
    address: String,
    state: Arc<Mutex<State>>,
}

impl Receiver {
    /// Starts a receiver that returns 200 until it is configured otherwise.
    pub fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let state = Arc::<Mutex<State>>::default();
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let state = Arc::clone(&of_thread);
                // The test breaks connections on purpose.
                std::thread::spawn(move || serve(stream.unwrap(), &state));
            }
        });
        Receiver { address, state }
    }

    /// Returns the URL of a hook.
    pub fn url(&self) -> String {
        format!("http://{}/in?key=hunter2", self.address)
    }

    /// Sends these replies first, one per request.
    pub fn first(&self, replies: &[Reply]) {
        self.state.lock().unwrap().replies.extend(replies);
    }

    /// Sends this reply from now on.
    pub fn otherwise(&self, reply: Reply) {
        self.state.lock().unwrap().otherwise = Some(reply);
    }

    /// Returns the requests received so far, in order.
    pub fn received(&self) -> Vec<Received> {
        self.state.lock().unwrap().received.clone()
    }

    /// Returns the ids of the requests received so far.
    pub fn ids(&self) -> BTreeSet<String> {
        self.received().iter().map(|received| received.id().to_owned()).collect()
    }

    /// Waits until this many requests arrived, and returns them.
    #[track_caller]
    pub fn wait_for(&self, count: usize) -> Vec<Received> {
        wait_until(&format!("{count} requests"), || self.received().len() >= count);
        self.received()
    }
}

/// Waits until `holds` returns true.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}: not in time");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn serve(stream: TcpStream, state: &Mutex<State>) -> Option<()> {
    let mut reader = BufReader::new(stream.try_clone().ok()?);
    loop {
        let received = read(&mut reader)?;
        let reply = {
            let mut state = state.lock().unwrap();
            state.received.push(received);
            let next = state.replies.pop_front();
            next.or(state.otherwise).unwrap_or(Reply::Status(200))
        };
        match reply {
            Reply::Status(status) => {
                let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n\r\nok");
                (&stream).write_all(answer.as_bytes()).ok()?;
            }
            Reply::Hang => {
                state.lock().unwrap().hanging.push(stream);
                return None;
            }
        }
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_owned()),
        }
    }
    let headers: HashMap<_, _> = lines[1..]
        .iter()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received { line: lines.swap_remove(0), headers, body: String::from_utf8(body).unwrap() })
}

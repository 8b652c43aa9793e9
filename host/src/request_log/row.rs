//! A row of the log, from a request with its response to the statement that inserts it. It decides what is stored of a
//! request: never a query, a header or a body.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{Method, StatusCode, Uri};
use jiff::Timestamp;
use tinybase_abi::codec::{BatchWriter, Expect, ValueRef};

use super::Recorder;
use crate::{accounts::Caller, http::RequestId, metrics::primitives::micros, sql::stored_time};

/// The maximum length of a stored path in bytes; longer ones are truncated.
const PATH_BYTES_MAX: usize = 512;
/// The maximum length of a stored method in bytes.
const METHOD_BYTES_MAX: usize = 32;

const INSERT: &str = "INSERT INTO tb_request_log \
     (at, method, route, path, status, duration_us, user_id, token_id, address, request_id, bytes_out) \
     VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)";

/// A request and the head of its response.
#[derive(Debug)]
pub struct Answered<'r> {
    /// The method.
    pub method: &'r Method,
    /// The target; only its path is stored.
    pub uri: &'r Uri,
    /// The pattern of the matched route.
    pub route: Option<&'static str>,
    /// The response's status.
    pub status: StatusCode,
    /// The time from the request's head to the response's.
    pub time: Duration,
    /// The caller of a verified token.
    pub caller: Option<&'r Arc<Caller>>,
    /// The client's address.
    pub client: IpAddr,
    /// The request's id.
    pub request_id: &'r RequestId,
}

/// A row in the queue.
#[derive(Debug)]
pub(super) struct Row {
    at: Timestamp,
    method: String,
    route: Option<&'static str>,
    path: String,
    status: StatusCode,
    time: Duration,
    caller: Option<Arc<Caller>>,
    client: IpAddr,
    request_id: RequestId,
    bytes_out: u64,
}

impl Row {
    pub(super) fn of(answered: &Answered<'_>) -> Row {
        Row {
            at: Timestamp::now().saturating_sub(answered.time).expect("a difference of times saturates"),
            method: beginning(answered.method.as_str(), METHOD_BYTES_MAX),
            route: answered.route,
            path: beginning(answered.uri.path(), PATH_BYTES_MAX),
            status: answered.status,
            time: answered.time,
            caller: answered.caller.cloned(),
            client: answered.client,
            request_id: answered.request_id.clone(),
            bytes_out: 0,
        }
    }

    /// Adds the statement that inserts it.
    pub(super) fn push(&self, batch: &mut BatchWriter) {
        fn or_null(text: Option<&str>) -> ValueRef<'_> {
            text.map_or(ValueRef::Null, ValueRef::Text)
        }
        let (at, address) = (stored_time(self.at), self.client.to_string());
        let caller = self.caller.as_deref();
        let params = [
            ValueRef::Text(&at),
            ValueRef::Text(&self.method),
            or_null(self.route),
            ValueRef::Text(&self.path),
            ValueRef::Integer(self.status.as_u16().into()),
            ValueRef::Integer(signed(micros(self.time))),
            or_null(caller.map(|caller| caller.user_id.as_str())),
            or_null(caller.and_then(|caller| caller.token_id.as_deref())),
            ValueRef::Text(&address),
            ValueRef::Text(self.request_id.as_str()),
            ValueRef::Integer(signed(self.bytes_out)),
        ];
        batch.push(INSERT, params, Expect::Exactly(1));
    }
}

fn beginning(text: &str, bytes_max: usize) -> String {
    text[..text.floor_char_boundary(bytes_max)].to_owned()
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// A row whose response is still being sent. It is queued on drop, that is with its response's body, however that ends.
#[derive(Debug)]
pub struct Unsent {
    row: Option<Row>,
    recorder: Recorder,
}

impl Unsent {
    pub(super) fn new(row: Row, recorder: Recorder) -> Unsent {
        Unsent { row: Some(row), recorder }
    }

    /// Counts more sent bytes of the body.
    pub fn sent(&mut self, bytes: usize) {
        if let Some(row) = &mut self.row {
            row.bytes_out += bytes as u64;
        }
    }
}

impl Drop for Unsent {
    fn drop(&mut self) {
        if let Some(row) = self.row.take() {
            self.recorder.add(row);
        }
    }
}

//! The faults of requests, chosen by the last part of the path.

use std::marker::PhantomData;

use tinybase_abi::{
    async_ffi::FfiFuture,
    bytes::Bytes,
    error::RawError,
    future::{RawFuture, guard, ready},
    request::Request,
    response::{PullBody, RawResponse, RawStream},
};

use crate::{Faults, Naked};

fn response(status: u16, headers: &[(&[u8], &[u8])], body: impl Into<Bytes>) -> RawResponse {
    let mut packed = Vec::new();
    for part in headers.iter().flat_map(|(name, value)| [name, value]) {
        packed.extend_from_slice(&u32::try_from(part.len()).expect("a header is short").to_le_bytes());
        packed.extend_from_slice(part);
    }
    RawResponse { status, is_json: 1, headers: packed.into(), body: body.into(), stream: RawStream::absent() }
}

fn error(status: u16, packed: Vec<u8>) -> RawError {
    RawError { status, retryable: 0, packed: packed.into() }
}

/// Panics when dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic!("dropped on purpose");
    }
}

/// A body that ends with an error.
struct Breaks {
    parts: u32,
    how: &'static str,
}

impl PullBody for Breaks {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, RawError> {
        self.parts += 1;
        match (self.parts, self.how) {
            (1..3, _) => Ok(Some(b"part ".to_vec())),
            (_, "error") => Err(RawError::new(500, "broke_off", "the body broke off on purpose")),
            (_, "hang") => std::future::pending().await,
            _ => panic!("streamed on purpose"),
        }
    }
}

fn stream(how: &'static str) -> RawResponse {
    RawResponse { stream: RawStream::new(Breaks { parts: 0, how }), ..response(200, &[], Bytes::empty()) }
}

fn write_log(faults: &Faults, line: &str) {
    if let Some(log) = faults.clients.log {
        log.write(3, line, b"");
    }
}

/// Recurses without end, except for an empty text.
fn recurse(text: &str) -> usize {
    if text.is_empty() {
        return 0;
    }
    let longer = std::hint::black_box(format!("{}x", &text[..text.len().min(3)]));
    recurse(&longer) + longer.len()
}

pub(crate) fn answer(faults: &Faults, request: Request) -> RawFuture<RawResponse> {
    let fault = request.param(0).unwrap_or_default().to_owned();
    let good = |body: &'static str| ready(Ok(response(200, &[], body)));
    match fault.as_str() {
        "none" => good("\"fine\""),
        "abort" => std::process::abort(),
        "exit" => std::process::exit(7),
        "overflow" => good(if recurse(&fault) == 0 { "\"none\"" } else { "\"deep\"" }),
        "panic_before_future" => panic!("handled on purpose"),
        "panic_unguarded" => FfiFuture::new(Naked(PhantomData)),
        "status_9999" => ready(Ok(response(9999, &[], "{}"))),
        "status_0" => ready(Ok(response(0, &[], "{}"))),
        "status_100" => ready(Ok(response(100, &[], "{}"))),
        "header_name_newline" => ready(Ok(response(200, &[(b"x\r\ny", b"z")], "{}"))),
        "header_value_newline" => ready(Ok(response(200, &[(b"x-y", b"a\r\nset-cookie: b")], "{}"))),
        "cookie" => ready(Ok(response(200, &[(b"set-cookie", b"sid=1; Domain=example.org; Path=/")], "{}"))),
        "cookie_long" => {
            let cookie = [b"sid=".to_vec(), vec![b'x'; 5000]].concat();
            ready(Ok(response(200, &[(b"set-cookie", &cookie)], "{}")))
        }
        "header_cut" => {
            let headers = Bytes::from(vec![255, 255, 255, 255, 1]);
            ready(Ok(RawResponse { headers, ..response(200, &[], "{}") }))
        }
        "header_length" => ready(Ok(response(200, &[(b"content-length", b"5000")], "\"short\""))),
        "header_endless" => {
            let header: (&[u8], &[u8]) = (b"x-y", b"z");
            ready(Ok(response(200, &vec![header; 100_000], "{}")))
        }
        "body_100_mb" => ready(Ok(response(200, &[], vec![b' '; 100 << 20]))),
        "stream_error" => ready(Ok(stream("error"))),
        "stream_panic" => ready(Ok(stream("panic"))),
        "stream_hang" => ready(Ok(stream("hang"))),
        "log" => {
            write_log(faults, "a line of the plugin");
            good("null")
        }
        "slow" => {
            write_log(faults, "slow answer begun");
            let sleep = faults.clients.timers.map(|timers| timers.sleep(400));
            guard(async move {
                if let Some(sleep) = sleep {
                    sleep.await.into_result()?;
                }
                Ok(response(200, &[], "\"slow\""))
            })
        }
        "undeclared" => match faults.clients.storage {
            Some(storage) => ready(Ok(response(200, &[], storage.data_dir()))),
            None => ready(Err(RawError::new(500, "capability_missing", "«storage» is not declared"))),
        },
        "caller_gone" => {
            // Keeps the request longer than the client is connected.
            guard(async move {
                let _request = request;
                std::future::pending().await
            })
        }
        _ => refusal(&fault).unwrap_or_else(|| later(fault, request)),
    }
}

/// Returns odd errors, or errors that reveal more than a client may read; `None` for other faults.
fn refusal(fault: &str) -> Option<RawFuture<RawResponse>> {
    let raw = match fault {
        "error_not_utf8" => error(400, vec![1, 0, 0, 0, 0xff, 1, 0, 0, 0, 0xfe, 0, 0, 0, 0]),
        "error_cut" => error(400, vec![200, 0, 0, 0, 1]),
        "error_status_0" => RawError::new(0, "odd", "a status that is none"),
        "error_status_200" => RawError::new(200, "odd", "an error that succeeds"),
        "error_400" => RawError::new(400, "odd_name", "faults_secret is no name"),
        "error_409" => {
            let details = r#"{"table": "faults_secret", "columns": ["x"]}"#;
            RawError::with_details(409, "db_unique", "faults_secret.x is taken", details)
        }
        "error_500" => RawError::with_details(
            500,
            "db_sql",
            "no such table: faults_secret in /srv/data.db",
            r#"{"table": "faults_secret"}"#,
        ),
        "error_502" | "error_503" | "error_504" | "error_507" => {
            let status = fault[6..].parse().unwrap_or(500);
            RawError::new(status, "broken_off", "faults_secret could not be read at /srv/data.db")
        }
        "error_code_odd" => RawError::new(400, "Not A Code\r\n", "x"),
        "error_details_garbage" => RawError::with_details(422, "odd", "x", "{not json"),
        _ => return None,
    };
    Some(ready(Err(raw)))
}

/// Faults of the future itself.
fn later(fault: String, request: Request) -> RawFuture<RawResponse> {
    guard(async move {
        match fault.as_str() {
            "panic_in_future" => panic!("awaited on purpose"),
            "panic_in_drop" => {
                let _bomb = Bomb;
                std::future::pending::<()>().await;
            }
            "panic_payload" => std::panic::panic_any(Bomb),
            "panic_after_drop_of_request" => {
                drop(request);
                panic!("without a request");
            }
            "hang" => std::future::pending().await,
            _ => {}
        }
        Err(RawError::new(404, "no_such_fault", format!("there is no fault {fault}")))
    })
}

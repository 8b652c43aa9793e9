//! The faults in the hooks before and after `record.create`, and before `metrics.collect`.

use std::marker::PhantomData;

use serde_json::Value as Json;
use tinybase_abi::{
    async_ffi::FfiFuture,
    bytes::Bytes,
    error::RawError,
    future::{RawFuture, guard},
    interfaces::{Outcome, hooks},
};

use crate::{Faults, Naked, switch};

/// Returns the fault: the one named in the record, or the switch when the host collects its metrics.
fn fault(topic: &str, payload: &[u8]) -> String {
    if topic == "metrics.collect" {
        return switch().to_owned();
    }
    let payload: Json = serde_json::from_slice(payload).unwrap_or_default();
    payload["record"]["fault"].as_str().unwrap_or_default().to_owned()
}

impl hooks::Server for Faults {
    fn before(&self, _hook: u32, topic: &str, _subject: &str, payload: Bytes) -> RawFuture<Outcome> {
        let fault = fault(topic, &payload);
        if fault == "before_panic_early" {
            panic!("hooked on purpose");
        }
        if fault == "before_panic_unguarded" {
            return FfiFuture::new(Naked(PhantomData));
        }
        guard(async move {
            let mut outcome = Outcome::unchanged();
            match fault.as_str() {
                "before_panic" => panic!("hooked on purpose"),
                "before_hang" => std::future::pending().await,
                "before_refuse" => return Err(RawError::new(409, "refused", "the hook refuses it")),
                "before_payload_garbage" => outcome.payload = Bytes::from(vec![b'{', 0xff]),
                "before_payload_other" => outcome.payload = Bytes::from("[1, 2, 3]"),
                "before_statements_garbage" => outcome.statements = Bytes::from(vec![9; 40]),
                _ => {}
            }
            Ok(outcome)
        })
    }

    fn after(&self, _hook: u32, topic: &str, _subject: &str, payload: Bytes) -> RawFuture<()> {
        let fault = fault(topic, &payload);
        if fault == "after_panic_early" {
            panic!("listened on purpose");
        }
        if fault == "after_panic_unguarded" {
            return FfiFuture::new(Naked(PhantomData));
        }
        guard(async move {
            match fault.as_str() {
                "after_panic" => panic!("listened on purpose"),
                "after_hang" => std::future::pending().await,
                _ => Ok(()),
            }
        })
    }
}

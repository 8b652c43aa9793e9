//! Tests the memory a search uses for records that a page skips. Runs alone in its process, since it measures the
//! process's memory.

use tinybase_plugin_api::{prelude::*, testkit::TestHost};
use tinybase_search::Search;

/// Bytes of a record's padding.
const PAD_BYTES: usize = 40_000;
/// The maximum bytes of records in one response of the service.
const ANSWER_BYTES_MAX: usize = 1_000_000;
const RECORDS: usize = 1_000;

/// Returns the peak memory of the process in bytes, since its last reset.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

/// Creates a record as the service returns it. Its padding is created on request.
fn record(id: &str, pad_bytes: usize) -> Json {
    let at = "2026-01-01T00:00:00.000000Z";
    json!({
        "id": id, "collection_id": "c1", "owner_id": "u1", "created_at": at, "updated_at": at, "version": 1,
        "data": {"title": "fox", "pad": "x".repeat(pad_bytes)},
    })
}

fn answer(method: &str, asked: &Json) -> Result<Json> {
    let name = asked["collection"].as_str().or(asked["name"].as_str());
    match method {
        "read" => {
            let ids = asked["ids"].as_array().unwrap();
            if ids.len() * PAD_BYTES > ANSWER_BYTES_MAX {
                return Err(Error::too_large("answer_too_large", "too many"));
            }
            let records: Vec<Json> = ids.iter().map(|id| record(id.as_str().unwrap(), PAD_BYTES)).collect();
            Ok(json!({"records": records, "sees_all": true}))
        }
        "list" => {
            let all: Vec<Json> = (0..RECORDS).map(|at| record(&format!("r{at:04}"), 0)).collect();
            let records = if asked["after"].is_null() { all } else { Vec::new() };
            Ok(json!({"collection_id": "c1", "revision": 1, "records": records, "next": null}))
        }
        _ => {
            let collection = |name: &str| {
                json!({"id": "c1", "name": name, "revision": 1, "records": RECORDS,
                       "fields": [{"name": "title", "type": "string"}]})
            };
            let names = name.map_or(vec!["one", "two"], |name| vec![name]);
            Ok(json!({"collections": names.into_iter().map(collection).collect::<Vec<_>>()}))
        }
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
fn a_page_far_behind_holds_no_more_than_its_own_records() {
    if std::fs::write("/proc/self/clear_refs", "5").is_err() {
        println!("Linux's alone: elsewhere the most that a process held is not told");
        return;
    }
    let host = TestHost::<Search>::start(env!("CARGO_MANIFEST_DIR"));
    host.offer("records", 1, |method, asked| answer(method, &asked));
    for name in ["one", "two"] {
        let target = format!("/api/search/indexes/{name}");
        assert_eq!(
            host.request("PUT", &target).admin().json(&json!({"fields": ["title"]})).send().status(),
            201
        );
        host.job("build").unwrap();
    }
    for target in ["/api/search/one?q=fox&offset=900&limit=5", "/api/search?q=fox&offset=1000&limit=5"] {
        std::fs::write("/proc/self/clear_refs", "5").unwrap();
        let before = peak_bytes();
        let found = host.get(target).admin().send();
        assert_eq!(found.status(), 200, "{target}: {}", found.json());
        assert_eq!(found.json()["hits"].as_array().unwrap().len(), 5, "{target}");
        let grown = peak_bytes() - before;
        assert!(grown < 20_000_000, "{target} took {grown} bytes more");
    }
}

//! The records of the crash test: those created, and those that must exist. A record's text follows from its number, so
//! that a partial record is detected. It never starts or kills a server.

use std::collections::HashSet;

use serde_json::{Value, json};

use tinybase_tests::Server;

/// The collection that is written to.
const RECORDS: &str = "/api/collections/notes/records";

/// Records per page, the API's maximum.
const PAGE: usize = 1_000;

/// A create with a 201 response.
pub(crate) struct Acknowledged {
    id: String,
    number: u64,
}

/// One writer with one connection.
pub(crate) struct Writer {
    agent: ureq::Agent,
    url: String,
}

/// Returns the data of record `number`. It is long and of varying length, so that it sometimes spans pages of the
/// database.
fn content(number: u64) -> Value {
    let words = 1 + (number % 97) as usize * 7;
    json!({ "number": number, "text": format!("{number} ").repeat(words) })
}

/// Creates the public collection as admin, with a unique field and the text.
pub(crate) fn create_collection(server: &Server) {
    let collection = json!({
        "name": "notes", "label": "Notes",
        "schema": { "fields": [
            { "name": "number", "type": "integer", "required": true, "unique": true },
            { "name": "text", "type": "string", "required": true },
        ] },
        "options": { "access": { "list": "public", "read": "public", "create": "public" } },
    });
    server.admin().post("/api/collections", &collection).expect(201);
}

impl Writer {
    pub(crate) fn new(address: &str) -> Self {
        Self { agent: ureq::Agent::new_with_defaults(), url: format!("http://{address}{RECORDS}") }
    }

    /// Creates record `number`. Returns `None` if the connection broke, so that the result is unknown.
    pub(crate) fn create(&self, number: u64) -> Option<Acknowledged> {
        let sent = self.agent.post(&self.url).send_json(json!({ "data": content(number) }));
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(ureq::Error::StatusCode(status)) => panic!("create {number} was refused with {status}"),
            Err(_) => return None,
        };
        assert_eq!(answer.status(), 201, "create {number}");
        // A 201 whose body was cut off has no id: not acknowledged.
        let record: Value = answer.body_mut().read_json().ok()?;
        let id = record["id"].as_str().expect("a record has an id").to_owned();
        Some(Acknowledged { id, number })
    }
}

/// Checks that every acknowledged record exists completely.
pub(crate) fn check_acknowledged(server: &Server, acknowledged: &[Acknowledged]) {
    let agent = ureq::Agent::new_with_defaults();
    for Acknowledged { id, number } in acknowledged {
        let record = get(&agent, server, &format!("/{id}"));
        assert_eq!(record["data"], content(*number), "the acknowledged record {id}");
    }
}

/// Checks that every existing record is complete, acknowledged or not, and that the total is right. Returns their
/// number.
pub(crate) fn check_stored(server: &Server) -> usize {
    let agent = ureq::Agent::new_with_defaults();
    let mut numbers = HashSet::new();
    loop {
        let page = get(&agent, server, &format!("?limit={PAGE}&offset={}", numbers.len()));
        let records = page["records"].as_array().expect("a list has records");
        for record in records {
            let number = record["data"]["number"].as_u64().expect("a record has its number");
            assert_eq!(record["data"], content(number), "the stored record {}", record["id"]);
            assert!(numbers.insert(number), "number {number} is stored twice");
        }
        if records.len() < PAGE {
            assert_eq!(page["total"], numbers.len(), "the total that the list answers");
            return numbers.len();
        }
    }
}

fn get(agent: &ureq::Agent, server: &Server, rest: &str) -> Value {
    let url = format!("http://{}{RECORDS}{rest}", server.address());
    let mut answer = agent.get(&url).call().unwrap_or_else(|error| panic!("GET {url}: {error}"));
    answer.body_mut().with_config().limit(u64::MAX).read_json().expect("the answer is JSON")
}

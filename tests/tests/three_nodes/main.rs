//! Three nodes on one PostgreSQL: each node's changes reach the others, whatever happens to a node or to the database.
//! Each test has its own server, which one of them stops and restarts.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

mod load;

use std::time::{Duration, Instant};

use load::Load;
use serde_json::{Value as Json, json};
use tinybase_test_postgres::{Cluster, server_url};
use tinybase_tests::{Client, Server, Site};

/// How long any change except an ended session may take to reach the other nodes.
const PATIENCE: Duration = Duration::from_secs(20);
/// The longest time that an ended session may still be accepted anywhere.
const SESSION_END_MAX: Duration = Duration::from_secs(1);
/// The duration of a load in which nothing breaks.
const LOAD_TIME: Duration = Duration::from_secs(3);

const NOTES: &str = "/api/collections/notes/records";

/// The nodes, with their shared database.
struct Cell {
    nodes: Vec<Server>,
    _site: Site,
    cluster: Cluster,
}

impl Cell {
    /// Starts three nodes; `None` in the run on SQLite, which has one node.
    #[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
    fn start() -> Option<Cell> {
        if server_url().is_none() {
            println!("PostgreSQL's alone: several nodes share a server's database");
            return None;
        }
        let cluster = Cluster::start().unwrap();
        let mut site = Site::on(&cluster.url());
        // Under load, a call may take longer than the other tests allow.
        site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "20000");
        site.set("TINYBASE_NODE_HEARTBEAT_MS", "200");
        site.set("TINYBASE_NODE_TIMEOUT_MS", "1000");
        let nodes = (0..3).map(|_| site.serve()).collect();
        Some(Cell { nodes, _site: site, cluster })
    }

    fn clients(&self) -> Vec<Client> {
        self.nodes.iter().map(Server::client).collect()
    }

    fn create_notes(&self) {
        let collection = json!({
            "name": "notes", "label": "Notes",
            "schema": { "fields": [
                { "name": "number", "type": "integer", "required": true, "unique": true },
                { "name": "text", "type": "string" },
                { "name": "amount", "type": "integer", "index": true },
            ] },
            "options": { "access": {
                "list": "public", "read": "public", "create": "public", "update": "public", "delete": "public",
            } },
        });
        self.nodes[0].admin().post("/api/collections", &collection).expect(201);
    }
}

#[track_caller]
fn wait_until(what: &str, time_max: Duration, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < time_max, "{what}: not after {} ms", time_max.as_millis());
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn nodes_seen(by: &Client) -> usize {
    by.get("/api/admin/nodes").expect(200)["nodes"].as_array().map_or(0, Vec::len)
}

#[test]
fn what_one_node_writes_the_others_see_and_nodes_see_each_other() {
    let Some(mut cell) = Cell::start() else { return };
    cell.create_notes();
    let clients = cell.clients();
    for (at, writer) in clients.iter().enumerate() {
        let id = writer.post(NOTES, &json!({"data": {"number": at, "text": "x"}})).expect(201)["id"].clone();
        let path = format!("{NOTES}/{}", id.as_str().unwrap());
        for reader in &clients {
            assert_eq!(reader.get(&path).expect(200)["data"]["number"], at);
        }
    }
    let twice = clients[2].post(NOTES, &json!({"data": {"number": 0}}));
    assert_eq!(twice.status, 409, "{twice:?}");
    for client in &clients {
        assert_eq!(client.get(NOTES).expect(200)["total"], 3);
    }

    let admin = cell.nodes[0].admin();
    // No request fails on the other nodes here, so failures cannot reveal the change to them.
    for turn in [0, 3] {
        admin.patch("/api/collections/notes", &schema(turn)).expect(200);
        expect_schema(&clients, turn);
    }
    assert_eq!(nodes_seen(&admin), 3);
    cell.nodes.pop().unwrap().stop();
    assert_eq!(nodes_seen(&admin), 2, "a node that stops takes itself off the list");
    cell.nodes.pop().unwrap().kill();
    wait_until("a killed node is off the list", PATIENCE, || nodes_seen(&admin) == 1);
}

/// A way to end a session, by its user or by an admin.
type Way = (&'static str, fn(&Client, &Client));

#[test]
fn an_ended_session_is_refused_everywhere_within_a_second() {
    let Some(cell) = Cell::start() else { return };
    let ways: [Way; 3] = [
        ("a logout", |own, _| {
            own.post("/api/auth/logout", &json!({})).expect(200);
        }),
        ("the end of one session", |own, _| {
            let sessions = own.get("/api/auth/sessions").expect(200);
            let id = sessions["sessions"][0]["id"].as_str().unwrap().to_owned();
            own.delete(&format!("/api/auth/sessions/{id}")).expect(204);
        }),
        ("an admin who locks the user out", |own, admin| {
            let id = own.get("/api/auth/me").expect(200)["id"].as_str().unwrap().to_owned();
            admin.patch(&format!("/api/admin/users/{id}"), &json!({"is_active": false})).expect(200);
        }),
    ];
    let admin = cell.nodes[1].admin();
    for (number, (way, end)) in ways.iter().enumerate() {
        let own = cell.nodes[0].client().registered(&format!("user{number}@example.com"));
        let token = own.token().unwrap().to_owned();
        let everywhere: Vec<Client> =
            cell.clients().into_iter().map(|client| client.with_token(&token)).collect();
        for client in &everywhere {
            client.get("/api/auth/me").expect(200);
        }
        end(&own, &admin);
        let ended = Instant::now();
        for client in &everywhere {
            wait_until(way, SESSION_END_MAX.saturating_sub(ended.elapsed()), || {
                client.get("/api/auth/me").status == 401
            });
        }
    }
}

#[test]
fn a_schema_change_under_load_gives_no_fault_on_any_node() {
    let Some(cell) = Cell::start() else { return };
    cell.create_notes();
    let admin = cell.nodes[0].admin();
    let load = Load::start(&cell.nodes, NOTES);
    let started = Instant::now();
    let mut changes = 0;
    while started.elapsed() < LOAD_TIME || changes < 12 {
        admin.patch("/api/collections/notes", &schema(changes)).expect(200);
        expect_schema(&cell.clients(), changes);
        let other = json!({"name": "passing", "label": "P", "schema": {"fields": [{"name": "a", "type": "string"}]},
            "options": {"access": {"list": "public"}}});
        admin.post("/api/collections", &other).expect(201);
        // Each node finds it immediately, and none serves it after its deletion.
        for client in cell.clients() {
            client.get("/api/collections/passing/records").expect(200);
        }
        admin.delete("/api/collections/passing").expect(204);
        for client in cell.clients() {
            wait_until("the end of a collection", SESSION_END_MAX, || {
                client.get("/api/collections/passing/records").status == 404
            });
        }
        changes += 1;
    }
    let outcome = load.end();
    assert!(outcome.faults.is_empty(), "{} changes: {:?}", changes, outcome.faults);
    assert_eq!(outcome.refused, 0, "{changes} changes: nobody is to come back later");
    assert!(outcome.acknowledged.len() > 100, "{} creates", outcome.acknowledged.len());
    load::check_stored(&cell.clients()[2], NOTES, &outcome.acknowledged);
}

/// Returns whether the schema has a field `extra` in this turn.
fn has_extra(turn: usize) -> bool {
    turn % 4 < 3
}

/// Checks that each node soon uses the schema of this turn, for both added and removed parts.
#[track_caller]
fn expect_schema(clients: &[Client], turn: usize) {
    let status = if has_extra(turn) { 200 } else { 422 };
    for client in clients {
        wait_until("the new schema", SESSION_END_MAX, || {
            client.get(&format!("{NOTES}?filter=extra=%22x%22&limit=1")).status == status
        });
    }
}

/// Returns the schema of a turn: a field is added, indexed, made unique, and removed; another one gets an index and
/// loses it; and one changes its type.
fn schema(turn: usize) -> Json {
    let amount = if turn % 4 < 2 { "number" } else { "integer" };
    let mut fields = vec![
        json!({ "name": "number", "type": "integer", "required": true, "unique": true }),
        json!({ "name": "text", "type": "string", "index": turn.is_multiple_of(2) }),
        json!({ "name": "amount", "type": amount, "index": true }),
    ];
    match turn % 4 {
        0 => fields.push(json!({ "name": "extra", "type": "string" })),
        1 => fields.push(json!({ "name": "extra", "type": "string", "index": true })),
        2 => fields.push(json!({ "name": "extra", "type": "string", "unique": true })),
        _ => {}
    }
    json!({ "schema": { "fields": fields } })
}

#[test]
fn a_killed_node_loses_nothing_that_it_acknowledged() {
    let Some(mut cell) = Cell::start() else { return };
    cell.create_notes();
    let load = Load::start(&cell.nodes, NOTES);
    load.wait_for(300);
    cell.nodes.pop().unwrap().kill();
    load.wait_for(600);
    let outcome = load.end();
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
    load::check_stored(&cell.clients()[0], NOTES, &outcome.acknowledged);
}

#[test]
fn a_restart_of_the_database_gives_clean_refusals_and_then_all_goes_on() {
    let Some(mut cell) = Cell::start() else { return };
    cell.create_notes();
    let load = Load::start(&cell.nodes, NOTES);
    load.wait_for(300);
    cell.cluster.stop_now().unwrap();
    wait_until("refusals", PATIENCE, || load.refused() > 10);
    cell.cluster.start_again().unwrap();
    let answered = load.acknowledged();
    load.wait_for(answered + 300);
    let clients = cell.clients();
    for client in &clients {
        wait_until("an answer of each node", PATIENCE, || client.get(NOTES).status == 200);
    }
    let outcome = load.end();
    assert!(outcome.faults.is_empty(), "{:?}", outcome.faults);
    load::check_stored(&clients[1], NOTES, &outcome.acknowledged);
}

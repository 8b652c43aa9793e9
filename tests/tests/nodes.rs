//! What an operator sees of the nodes on a database, and what keeps a node with other keys from serving, on the real
//! server.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    fs,
    time::{Duration, Instant},
};

use serde_json::Value as Json;
use tinybase_tests::{Server, Site};

fn nodes(server: &Server) -> Vec<Json> {
    let answer = server.admin().get("/api/admin/nodes").expect(200);
    answer["nodes"].as_array().unwrap().clone()
}

#[test]
fn a_node_shows_itself_and_is_gone_after_it() {
    let mut site = Site::new();
    site.set("TINYBASE_NODE_NAME", "the first");
    site.set("TINYBASE_NODE_HEARTBEAT_MS", "100");
    site.set("TINYBASE_NODE_TIMEOUT_MS", "400");
    let server = site.serve();
    let listed = nodes(&server);
    let [node] = listed.as_slice() else { panic!("{listed:?}") };
    assert_eq!(node["is_self"], true, "{node}");
    assert_eq!((&node["name"], &node["address"]), (&"the first".into(), &server.address().into()), "{node}");
    let metrics = server.admin().get("/metrics");
    assert!(String::from_utf8_lossy(&metrics.body).contains("\ntinybase_nodes 1.0\n"));
    let first_id = node["id"].clone();
    server.kill();

    let server = site.serve();
    let deadline = Instant::now() + Duration::from_secs(20);
    let listed = loop {
        let listed = nodes(&server);
        if listed.len() == 1 {
            break listed;
        }
        assert!(Instant::now() < deadline, "the one that was killed is still listed: {listed:?}");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert_ne!(listed[0]["id"], first_id, "a node is another after each start");
    assert!(server.stop().success());
    // The row of the killed node is removed by a heartbeat of another node.
    let id = listed[0]["id"].as_str().unwrap();
    let left = site.sql(&format!("SELECT count(*) FROM tb_nodes WHERE id = '{id}'"));
    assert_eq!(left.trim(), "0", "it ended in order and is still listed");
}

#[test]
fn a_node_with_other_keys_does_not_serve_until_they_are_adopted() {
    let site = Site::new();
    drop(site.serve());
    for (file, name) in [("ed25519.pem", "signing"), ("secret.key", "sealing")] {
        let path = site.dir().join(".tinybase/keys").join(file);
        let kept = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        let refused = site.serve_in_vain();
        assert_eq!(refused.code, Some(1), "{refused:?}");
        for part in [&format!("this node's {name} key"), file, "run: tinybase keys adopt"] {
            assert!(refused.errors.contains(part), "{name}: no {part} in {refused:?}");
        }
        let shown: Json = serde_json::from_str(&site.done(&["keys", "show", "--json"])).unwrap();
        for key in shown.as_array().unwrap() {
            assert_eq!(key["folder"] == key["database"], key["name"] != name, "{shown}");
        }
        let other = fs::read(&path).unwrap();
        fs::write(&path, &kept).unwrap();
        drop(site.serve());

        fs::write(&path, &other).unwrap();
        assert!(site.done(&["keys", "adopt"]).contains(name));
        let server = site.serve();
        let entries = server.admin().get("/api/admin/audit-log?action=key.adopt").expect(200);
        assert_eq!(entries["entries"][0]["target_id"], name, "{entries}");
        assert!(site.done(&["keys", "adopt"]).contains("already"));
    }
}

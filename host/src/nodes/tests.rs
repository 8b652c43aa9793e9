//! Tests nodes of one PostgreSQL database: which are listed, and for how long.

use std::time::Instant;

use super::*;
use crate::db::testing::OnPostgres;

const PATIENCE: Duration = Duration::from_secs(20);

fn config() -> config::Node {
    config::Node { heartbeat_ms: 20, timeout_ms: 1_000, ..config::Node::default() }
}

async fn join(database: &OnPostgres, port: u16) -> (Arc<Nodes>, Membership) {
    let nodes = Arc::new(Nodes::new(database.node().await, &config()));
    let membership = Arc::clone(&nodes).join(([127, 0, 0, 1], port).into()).await.unwrap();
    (nodes, membership)
}

async fn until_alive(nodes: &Nodes, count: usize) {
    let begun = Instant::now();
    while nodes.alive().get() != count {
        assert!(begun.elapsed() < PATIENCE, "{} nodes are known, not {count}", nodes.alive().get());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_know_of_each_other_until_they_end_or_are_lost() {
    let Some(database) = OnPostgres::migrated().await else { return };
    let (first, first_joined) = join(&database, 1).await;
    let (second, second_joined) = join(&database, 2).await;
    let (third, third_joined) = join(&database, 3).await;
    for nodes in [&first, &second, &third] {
        until_alive(nodes, 3).await;
    }
    let listed = first.list().await.unwrap();
    let told = listed.iter().map(|node| (node.address.as_str(), node.is_self)).collect::<Vec<_>>();
    assert_eq!(told, [("127.0.0.1:1", true), ("127.0.0.1:2", false), ("127.0.0.1:3", false)]);
    assert!(listed.iter().all(|node| node.seen_at >= node.started_at), "{listed:?}");

    second_joined.leave().await;
    assert_eq!(first.list().await.unwrap().len(), 2, "one that ends leaves the list at once");
    until_alive(&third, 2).await;
    drop(third_joined);
    until_alive(&first, 1).await;
    assert_eq!(first.list().await.unwrap().len(), 1);
    let rows = first.sql.rows("SELECT id FROM tb_nodes", &[]).await.unwrap();
    assert_eq!(rows.len(), 1, "one that is lost is forgotten");
    first_joined.leave().await;
}

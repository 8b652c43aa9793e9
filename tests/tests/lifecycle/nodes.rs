//! Several nodes on one database, each with its own folder: an extension installed on one is installed on all, and an
//! extension that fails to start on one runs on none.

use tempfile::TempDir;
use tinybase_test_postgres::server_url;
use tinybase_tests::{Registry, Server, Site, fixtures};

use super::{change, install, pulse_version, wait_until};

const NODES: usize = 3;

struct Cell {
    site: Site,
    nodes: Vec<Server>,
    folders: Vec<TempDir>,
}

impl Cell {
    /// Starts the nodes; `None` in the run on SQLite, which has one node.
    #[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
    fn start(variables: [&[(&str, &str)]; NODES]) -> Option<Cell> {
        if server_url().is_none() {
            println!("PostgreSQL's alone: several nodes share a server's database");
            return None;
        }
        let mut site = Site::new();
        site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "20000");
        site.set("TINYBASE_NODE_HEARTBEAT_MS", "200");
        site.set("TINYBASE_NODE_TIMEOUT_MS", "1000");
        let mut cell = Cell { site, nodes: Vec::new(), folders: Vec::new() };
        for of_node in variables {
            let folder = tempfile::tempdir().unwrap();
            let mut command = cell.site.command(&["serve", "--port", "0"]);
            command.env("TINYBASE_EXTENSIONS_DIR", folder.path()).envs(of_node.iter().copied());
            cell.nodes.push(Server::start(command).unwrap_or_else(|ran| panic!("serve: {ran:?}")));
            cell.folders.push(folder);
        }
        Some(cell)
    }

    fn versions(&self) -> Vec<String> {
        self.nodes.iter().map(|node| pulse_version(&node.client())).collect()
    }

    /// Returns the number of tables of `pulse`.
    fn tables(&self) -> String {
        self.site.sql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'pulse%'")
    }
}

#[test]
fn what_is_installed_on_one_node_runs_on_all() {
    let Some(mut cell) = Cell::start([&[]; NODES]) else { return };
    install(&cell.site, "pulse");
    // When the command ends, every node serves it.
    assert_eq!(cell.versions(), ["0.1.0"; NODES]);
    install(&cell.site, "pulse_2");
    assert_eq!(cell.versions(), ["0.2.0"; NODES]);
    assert_eq!(cell.tables(), "2");

    let ran = change(&cell.site, "pulse_broken");
    assert!(ran.code == Some(1) && ran.errors.contains("this version does not start"), "{ran:?}");
    wait_until("the version before serves everywhere", || cell.versions() == ["0.2.0"; NODES]);
    assert_eq!(cell.tables(), "2", "the migrations were reverted");

    cell.site.done(&["extensions", "rollback", "pulse"]);
    assert_eq!(cell.versions(), ["0.1.0"; NODES]);
    assert_eq!(cell.tables(), "1");

    // A killed node is only waited for until the others notice; a joining node gets what is installed.
    cell.nodes.pop().unwrap().kill();
    cell.folders.pop();
    install(&cell.site, "pulse_2");
    assert_eq!(cell.versions(), ["0.2.0"; 2]);
    let folder = tempfile::tempdir().unwrap();
    let mut command = cell.site.command(&["serve", "--port", "0"]);
    command.env("TINYBASE_EXTENSIONS_DIR", folder.path());
    cell.nodes.push(Server::start(command).unwrap_or_else(|ran| panic!("serve: {ran:?}")));
    cell.folders.push(folder);
    assert_eq!(cell.versions(), ["0.2.0"; NODES]);

    cell.site.done(&["extensions", "disable", "pulse"]);
    assert_eq!(cell.versions(), [""; NODES]);
    cell.site.done(&["extensions", "enable", "pulse"]);
    assert_eq!(cell.versions(), ["0.2.0"; NODES]);
    cell.site.done(&["extensions", "uninstall", "pulse", "--purge", "--yes"]);
    assert_eq!(cell.versions(), [""; NODES]);
    assert_eq!(cell.tables(), "0");
    for folder in &cell.folders {
        wait_until("its files are gone", || !folder.path().join("pulse").exists());
    }
}

#[test]
fn what_one_node_cannot_bring_up_runs_on_none() {
    let Some(cell) = Cell::start([&[], &[], &[("STRESS_PULSE_FAILS", "0.2.0")]]) else { return };
    install(&cell.site, "pulse");
    assert_eq!(cell.versions(), ["0.1.0"; NODES]);
    let ran = change(&cell.site, "pulse_2");
    assert_eq!(ran.code, Some(1), "{ran:?}");
    // Reported by the node itself, if it carried out the change.
    assert!(ran.errors.contains("does not start"), "{ran:?}");
    wait_until("the version before serves everywhere", || cell.versions() == ["0.1.0"; NODES]);
    assert_eq!(cell.tables(), "1", "the migrations were reverted");
    assert_eq!(
        cell.site.sql("SELECT version, previous_version FROM tb_extensions WHERE name = 'pulse'"),
        "0.1.0|"
    );
}

#[test]
fn a_node_that_is_killed_in_the_middle_of_a_change_leaves_it_to_another() {
    for at in [6, 10, 12, 16] {
        let at = at.to_string();
        let crash = [("STRESS_CRASH_AT", at.as_str())];
        let Some(cell) = Cell::start([&crash, &[], &[]]) else { return };
        // Any node may carry it out; if it is the first, it is killed at that step.
        let ran = change(&cell.site, "pulse");
        let others = || cell.nodes[1..].iter().map(|node| pulse_version(&node.client())).collect::<Vec<_>>();
        let installed = || cell.site.sql("SELECT count(*) FROM tb_extensions WHERE name = 'pulse'") == "1";
        wait_until("what was begun has ended", || {
            cell.site.sql("SELECT count(*) FROM tb_extension_changes WHERE ended_at IS NULL") == "0"
        });
        wait_until("the others agree", || others() == [if installed() { "0.1.0" } else { "" }; 2]);
        assert!(ran.code.is_some(), "{ran:?}");
    }
}

#[test]
fn what_one_node_sees_revoked_runs_on_none() {
    if server_url().is_none() {
        return;
    }
    let (registry, roots) = (Registry::start(&["pulse"]), tempfile::tempdir().unwrap());
    std::fs::copy(registry.files().join("root.json"), roots.path().join("acme.json")).unwrap();
    let of_first = [
        ("TINYBASE_EXTENSIONS_REGISTRIES", &*format!("acme={}", registry.url())),
        ("TINYBASE_EXTENSIONS_ROOTS_DIR", roots.path().to_str().unwrap()),
        ("TINYBASE_EXTENSIONS_AUDIT_INTERVAL_MS", "100"),
    ];
    let Some(cell) = Cell::start([&of_first, &[], &[]]) else { return };
    registry.publish(&cell.site, &fixtures::stress("pulse", cell.site.packages()));
    install(&cell.site, "pulse");
    assert_eq!(cell.versions(), ["0.1.0"; NODES]);
    registry.done(&["revoke", "packages", "pulse", "0.1.0", "--reason", "lets anybody read"]);
    wait_until("it runs on none", || cell.versions() == [""; NODES]);
    cell.nodes[0].logged(&["it is disabled, since a registry revoked it", "pulse"]);
    let disabled = "SELECT count(*) FROM tb_extension_changes WHERE kind = 'disable' AND error_code IS NULL";
    assert_eq!(cell.site.sql(disabled), "1");
}

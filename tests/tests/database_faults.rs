//! The server when its database has no disk space, no file, or too little time for all requests.

#![allow(clippy::unwrap_used, reason = "a failed call fails its test")]

use std::{
    fs,
    path::Path,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use serde_json::json;
use tinybase_test_postgres::sqlite_only;
use tinybase_tests::{Client, Server, Site, fixtures, site};

const RECORDS: &str = "/api/collections/posts/records";
const PATIENCE: Duration = Duration::from_secs(20);
const MEBIBYTE: u64 = 1 << 20;

fn posts(server: &Server) -> Client {
    collection(server, "posts");
    server.client()
}

fn collection(server: &Server, name: &str) {
    let admin = server.admin();
    let fields = json!([{"name": "s", "type": "string"}, {"name": "n", "type": "integer"}]);
    let access = json!({"list": "public", "read": "public", "create": "public"});
    let made =
        json!({"name": name, "label": name, "schema": {"fields": fields}, "options": {"access": access}});
    admin.post("/api/collections", &made).expect(201);
}

fn create(client: &Client, text: &str) -> (u16, String) {
    client.post(RECORDS, &json!({"data": {"s": text}})).outcome()
}

fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not after {PATIENCE:?}: {what}");
        std::thread::yield_now();
    }
}

/// A folder that is mounted as a separate file system until dropped, with its previous content.
struct Small<'a>(&'a Path);

impl<'a> Small<'a> {
    fn of(folder: &'a Path, free: u64) -> Result<Small<'a>, String> {
        let kept = tempfile::tempdir().unwrap();
        fixtures::copy_folder(folder, kept.path());
        let du = Command::new("du").args(["-sb"]).arg(folder).output().unwrap();
        let bytes: u64 =
            String::from_utf8_lossy(&du.stdout).split_whitespace().next().unwrap().parse().unwrap();
        let size = format!("size={}", bytes + free);
        let ran = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder).output();
        let ran = ran.map_err(|error| error.to_string())?;
        if !ran.status.success() {
            return Err(String::from_utf8_lossy(&ran.stderr).trim().to_owned());
        }
        fixtures::copy_folder(kept.path(), folder);
        Ok(Small(folder))
    }

    /// Fills the free space, or releases it.
    fn fill(&self, whether: bool) {
        let filler = self.0.join("filler");
        if !whether {
            return fs::remove_file(filler).unwrap();
        }
        let mut file = fs::File::create(filler).unwrap();
        let page = [7; 4096];
        while std::io::Write::write_all(&mut file, &page).is_ok() {}
    }
}

impl Drop for Small<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(self.0).status();
    }
}

#[test]
#[allow(clippy::print_stdout, reason = "a test's output tells what it did")]
fn a_full_disk_is_told_as_such_and_is_over_once_there_is_room() {
    if sqlite_only("a disk that the database is on") {
        return;
    }
    let site = Site::new();
    let small = match Small::of(site.dir(), 16 * MEBIBYTE) {
        Ok(small) => small,
        Err(why) => {
            // If nothing can be mounted, the engine's own test of its errors remains.
            return println!("left out: no file system can be mounted: {why}");
        }
    };
    let server = site.serve();
    let client = posts(&server);
    assert_eq!(create(&client, "before").0, 201);
    client.get("/ready").expect(200);
    small.fill(true);
    let text = "x".repeat(200_000);
    let mut stored = 1;
    // The rest of the write-ahead log's last page may still fit one.
    let refused = (0..200).map(|_| create(&client, &text)).find(|outcome| {
        stored += u64::from(outcome.0 == 201);
        outcome.0 != 201
    });
    assert_eq!(refused, Some((507, "disk_full".to_owned())));
    let account = json!({"email": "ada@example.com", "password": site::PASSWORD});
    assert_eq!(client.post("/api/auth/register", &account).outcome(), (507, "disk_full".to_owned()));
    wait_until("it is not ready", || client.get("/ready").outcome() == (503, "disk_full".to_owned()));
    assert_eq!(client.get(RECORDS).expect(200)["total"], stored, "reads go on");
    small.fill(false);
    wait_until("it is ready again", || client.get("/ready").status == 200);
    assert_eq!(create(&client, &text).0, 201);
    drop(server);
    let server = site.serve();
    assert_eq!(
        server.client().get(RECORDS).expect(200)["total"],
        stored + 1,
        "what was acknowledged is there"
    );
    drop(server);
    drop(small);
}

#[test]
fn nothing_is_acknowledged_once_the_database_file_is_gone() {
    if sqlite_only("the file of the database") {
        return;
    }
    for durability in ["full", "normal"] {
        let mut site = Site::new();
        site.set("TINYBASE_DB_DURABILITY", durability);
        let server = site.serve();
        let client = posts(&server);
        assert_eq!(create(&client, "before").0, 201);
        let (file, aside) = (site.dir().join("tinybase.db"), site.dir().join("aside"));
        let gone = (503, "database_file_replaced".to_owned());
        fs::rename(&file, &aside).unwrap();
        assert_eq!(create(&client, "gone"), gone, "{durability}");
        wait_until("it is not ready", || client.get("/ready").outcome() == gone);
        fs::copy(&aside, &file).unwrap();
        assert_eq!(create(&client, "replaced"), gone, "{durability}");
        fs::rename(&aside, &file).unwrap();
        wait_until("it is ready again", || client.get("/ready").status == 200);
        assert_eq!(create(&client, "back").0, 201);
        let log = site.dir().join("tinybase.db-wal");
        fs::remove_file(log).unwrap();
        assert_eq!(create(&client, "without its log"), gone, "{durability}");
    }
}

#[test]
fn one_server_serves_a_file_and_nobody_takes_its_tables_back() {
    let site = Site::new();
    let server = site.serve();
    let client = posts(&server);
    if site.database_url().is_none() {
        let second = site.serve_in_vain();
        let told = format!("being served already by process {}", server.pid());
        assert!(second.code == Some(1) && second.errors.contains(&told), "{second:?}");
    }
    let taken_back = site.run(&["db", "downgrade", "1", "--yes"]);
    assert!(taken_back.code == Some(1) && taken_back.errors.contains("stop it first"), "{taken_back:?}");
    assert_eq!(create(&client, "still there").0, 201);
    server.kill();
    if site.database_url().is_none() {
        // The lock ends with the process, even after a crash.
        let server = site.serve();
        assert_eq!(server.client().get(RECORDS).expect(200)["total"], 1);
        assert!(server.stop().success());
        site.done(&["db", "downgrade", "--yes"]);
    }
}

#[test]
fn no_pattern_keeps_a_requests_thread() {
    let mut site = Site::new();
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "30000");
    let server = site.serve();
    let client = posts(&server);
    let made = client.post(RECORDS, &json!({"data": {"s": "a".repeat(1_000_000)}})).expect(201);
    let id = made["id"].as_str().unwrap();
    let list = |pattern: &str| {
        let filter = format!("id = '{id}' and s like '{pattern}'").replace('%', "%25");
        format!("{RECORDS}?filter={}", filter.replace(' ', "%20").replace('\'', "%27"))
    };
    let too_long = client.get(&list(&format!("%{}b", "a".repeat(12_000))));
    assert_eq!(too_long.outcome(), (422, "invalid_filter".to_owned()));
    let heavy = [list(&format!("%{}b", "a".repeat(990))), list(&format!("%{}_b%", "a".repeat(980)))];
    let done = AtomicBool::new(false);
    std::thread::scope(|threads| {
        let lists: Vec<_> = heavy.iter().map(|path| threads.spawn(|| server.client().get(path))).collect();
        let health = threads.spawn(|| {
            let mut longest = Duration::ZERO;
            while !done.load(Ordering::Relaxed) {
                let begun = Instant::now();
                server.client().get("/health").expect(200);
                longest = longest.max(begun.elapsed());
            }
            longest
        });
        for list in lists {
            let answer = list.join().unwrap();
            // PostgreSQL retries a pattern after each character, up to the time limit of a statement.
            if site.database_url().is_none() || answer.status != 504 {
                assert_eq!(answer.expect(200)["total"], 0);
            }
        }
        done.store(true, Ordering::Relaxed);
        let longest = health.join().unwrap();
        assert!(longest < Duration::from_secs(2), "/health took {longest:?}");
    });
}

#[test]
fn who_asks_for_much_waits_behind_their_own() {
    if sqlite_only("the turns at SQLite's reader threads") {
        return;
    }
    let mut site = Site::new();
    site.set("TINYBASE_PLUGINS_CALL_TIMEOUT_MS", "30000");
    site.set("TINYBASE_DB_READERS", "2");
    let server = site.serve();
    let client = posts(&server);
    for _ in 0..20 {
        assert_eq!(create(&client, &"ab".repeat(400_000)).0, 201);
    }
    // It needs very little CPU time, however busy the cores are.
    collection(&server, "few");
    let user = client.joined("ada@example.com");
    let cheap = "/api/collections/few/records?filter=n%20is%20not%20null";
    // Each of them takes about as long as a statement may take.
    let term = "s%20like%20%27%25_a_c%25%27";
    let heavy = format!("{RECORDS}?filter={}", vec![term; 90].join("%20or%20"));
    let address = server.address().to_owned();
    let lists: Vec<_> = (0..8)
        .map(|_| {
            let (address, heavy) = (address.clone(), heavy.clone());
            std::thread::spawn(move || Client::new(&address).try_send("GET", &heavy, &[], b""))
        })
        .collect();
    let begun = Instant::now();
    let mut longest = Duration::ZERO;
    while begun.elapsed() < Duration::from_secs(4) {
        let asked = Instant::now();
        user.get(cheap).expect(200);
        longest = longest.max(asked.elapsed());
    }
    assert!(lists.iter().any(|list| !list.is_finished()), "the lists were not heavy enough to tell");
    assert!(longest < Duration::from_secs(5), "another's list waited for {longest:?}");
    server.kill();
    lists.into_iter().for_each(|list| drop(list.join()));
}

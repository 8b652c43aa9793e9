//! Fresh starts of a server whose first request to an extension blocks: no start may hang, whatever its threads were
//! doing and however busy the machine is. `BLOCKED_STARTS` sets the number of starts of each kind, and adds runs with 8
//! workers; `cargo xtask blocked` sets it.

use std::{
    hint,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tinybase_tests::Client;

use super::{CALL_TIMEOUT, SLACK, all_else_is_well, call_beside, ends_in_time, site};

/// Threads that keep every core busy, until dropped.
struct Busy {
    stopped: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Busy {
    fn cores() -> Busy {
        let stopped = Arc::new(AtomicBool::new(false));
        let spin = |stopped: Arc<AtomicBool>| {
            move || {
                while !stopped.load(Ordering::Relaxed) {
                    hint::spin_loop()
                }
            }
        };
        let count = 2 * thread::available_parallelism().map_or(2, usize::from);
        let threads = (0..count).map(|_| thread::spawn(spin(Arc::clone(&stopped)))).collect();
        Busy { stopped, threads }
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| thread.join().unwrap());
    }
}

/// Blocks some threads at once; returns the time of the slowest other response.
fn block(client: &Client, how: &str) -> Duration {
    let blocked: Vec<_> = (0..3).map(|_| call_beside(client, &format!("/api/blocking/{how}"))).collect();
    let mut slowest = Duration::ZERO;
    let begun = Instant::now();
    while begun.elapsed() < CALL_TIMEOUT {
        for path in ["/health", "/ready", "/api/neighbour/hello", "/api/collections"] {
            let asked = Instant::now();
            // A new connection, like that of a new client.
            assert_eq!(Client::new(client.address()).get(path).status, 200, "{path}");
            slowest = slowest.max(asked.elapsed());
        }
    }
    for one in blocked {
        let (status, code, time) = one.join().unwrap();
        assert_eq!((status, code.as_str()), (504, "plugin_timeout"));
        assert!(time < CALL_TIMEOUT + SLACK, "{time:?}");
    }
    slowest
}

#[test]
fn no_start_stands_still() {
    let asked =
        std::env::var("BLOCKED_STARTS").ok().map(|starts| starts.parse().expect("a number of starts"));
    let workers: &[usize] = if asked.is_some() { &[1, 2, 8] } else { &[1, 2] };
    for &workers in workers {
        for is_busy in [false, true] {
            let site = site(workers, "");
            let mut slowest = Duration::ZERO;
            let starts = asked.unwrap_or(1);
            for start in 0..starts {
                let _busy = is_busy.then(Busy::cores);
                let server = site.serve();
                let client = server.client();
                slowest = slowest.max(block(&client, if start % 2 == 0 { "sleep" } else { "spin" }));
                assert!(slowest < SLACK, "{workers} workers, start {start}: {slowest:?}");
                all_else_is_well(&client);
                ends_in_time(server);
            }
            println!("{workers} workers, busy {is_busy}: {starts} starts, slowest other answer {slowest:?}");
        }
    }
}

//! Blocking code on the real runtime, without a plugin: sockets, timers and tasks must continue, whatever is
//! blocked.

use std::{
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::{Ready, ready};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    runtime::Handle,
};

use super::{Bulkhead, Guarded, OwnTask, Report, Watchdog, Work, reserve};

/// What blocked threads wait for.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    fn wait(&self) {
        let opened = self.0.0.lock().unwrap();
        drop(self.0.1.wait_while(opened, |is_open| !*is_open).unwrap());
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// Blocks the thread that drops it.
struct Heavy(Gate);

impl Drop for Heavy {
    fn drop(&mut self) {
        self.0.wait();
    }
}

fn blocking(bulkhead: &'static Bulkhead, gate: &Gate) -> OwnTask<Result<(), tinybase_abi::error::RawError>> {
    let gate = gate.clone();
    let make = move |_: &()| -> Ready<()> {
        gate.wait();
        ready(())
    };
    OwnTask::spawn(Guarded::new(bulkhead, (), Work::Request, make))
}

/// Sockets, timers, tasks, and well-behaved plugin code.
async fn all_goes_on(good: &'static Bulkhead) {
    for _ in 0..20 {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let echo = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut byte = [0];
            stream.read_exact(&mut byte).await.unwrap();
            tokio::time::sleep(Duration::from_millis(1)).await;
            stream.write_all(&byte).await.unwrap();
        });
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"x").await.unwrap();
        stream.read_exact(&mut [0]).await.unwrap();
        echo.await.unwrap();
        let call = Guarded::new(good, (), Work::Request, |_: &()| Box::pin(tokio::task::yield_now()));
        OwnTask::spawn(call).await.unwrap().unwrap();
    }
}

/// Runs `work` on a watched runtime. It may take some seconds.
fn on_runtime(workers: usize, work: impl Future<Output = ()>) {
    let runtime = super::runtime(workers, 4).unwrap();
    let watchdog =
        Watchdog::start(runtime.handle().clone(), Duration::from_millis(100), 0, |_: Report| {}).unwrap();
    runtime.block_on(async {
        let done = tokio::time::timeout(Duration::from_secs(20), work);
        // The timer belongs to the main thread, but needs the workers to fire.
        assert!(done.await.is_ok(), "it stands still");
    });
    drop(watchdog);
    runtime.shutdown_background();
}

fn what_blocks_stops_nothing_else(workers: usize) {
    on_runtime(workers, async move {
        let (bad, good) = (Bulkhead::leak("bad", 4), Bulkhead::leak("good", 4));
        let gate = Gate::default();
        let calls: Vec<_> = (0..20).map(|_| blocking(bad, &gate)).collect();
        let checked = tokio::spawn(async move {
            all_goes_on(good).await;
            let begun = Instant::now();
            while bad.blocked() < workers.min(4) {
                assert!(begun.elapsed() < Duration::from_secs(10), "{} are blocked", bad.blocked());
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            all_goes_on(good).await;
        });
        checked.await.unwrap();
        gate.open();
        for call in calls {
            call.await.unwrap().unwrap();
        }
    });
}

#[test]
fn what_blocks_stops_nothing_else_with_one_worker() {
    what_blocks_stops_nothing_else(1);
}

#[test]
fn what_blocks_stops_nothing_else_with_two_workers() {
    what_blocks_stops_nothing_else(2);
}

#[test]
fn what_blocks_stops_nothing_else_with_eight_workers() {
    what_blocks_stops_nothing_else(8);
}

#[test]
fn the_reserve_works_while_the_others_stay_in_plugin_code_and_no_longer() {
    async fn until_held_is(wanted: bool) {
        while reserve::is_held() != wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
    on_runtime(1, async {
        let (bad, good) = (Bulkhead::leak("bad", 4), Bulkhead::leak("good", 4));
        until_held_is(true).await;
        tokio::spawn(all_goes_on(good)).await.unwrap();
        assert!(reserve::is_held(), "short calls need no reserve");
        let gate = Gate::default();
        let call = blocking(bad, &gate);
        tokio::spawn(all_goes_on(good)).await.unwrap();
        assert!(!reserve::is_held(), "nothing else can have gone on");
        gate.open();
        call.await.unwrap().unwrap();
        until_held_is(true).await;
    });
    assert!(!reserve::is_held(), "without a watchdog nobody would release it");
}

#[test]
fn drops_that_block_stop_nothing_else() {
    on_runtime(2, async {
        let (bad, good) = (Bulkhead::leak("bad", 4), Bulkhead::leak("good", 4));
        let gate = Gate::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let calls: Vec<_> = (0..150)
            .map(|_| {
                let (heavy, begun) = (Heavy(gate.clone()), Arc::clone(&begun));
                OwnTask::spawn(Guarded::new(bad, (), Work::Request, move |_: &()| {
                    begun.fetch_add(1, Ordering::Relaxed);
                    Box::pin(async move {
                        let _heavy = heavy;
                        std::future::pending::<()>().await;
                    })
                }))
            })
            .collect();
        while begun.load(Ordering::Relaxed) < calls.len() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        drop(calls);
        tokio::spawn(all_goes_on(good)).await.unwrap();
        gate.open();
    });
}

#[test]
fn an_extension_that_is_switched_off_is_called_no_more() {
    let runtime = super::runtime(2, 4).unwrap();
    let (report, reported) = std::sync::mpsc::channel();
    let watch = move |one| {
        if let Report::SwitchedOff(bulkhead) = one {
            let _ = report.send(bulkhead.name());
        }
    };
    let watchdog = Watchdog::start(runtime.handle().clone(), Duration::from_millis(100), 3, watch).unwrap();
    let gate = Gate::default();
    runtime.block_on(async {
        let bad = Bulkhead::leak("bad", 3);
        let calls: Vec<_> = (0..10).map(|_| blocking(bad, &gate)).collect();
        let name = tokio::task::spawn_blocking(move || reported.recv_timeout(Duration::from_secs(10)));
        assert_eq!(name.await.unwrap(), Ok("bad"));
        let refused = blocking(bad, &gate).await.unwrap().unwrap_err();
        assert_eq!((refused.status, refused.words().code.as_str()), (503, "extension_switched_off"));
        gate.open();
        for call in calls {
            // Some were blocked and returned, the others never began.
            drop(call.await.unwrap());
        }
        assert!(Handle::current().metrics().num_alive_tasks() < 100);
    });
    drop(watchdog);
    runtime.shutdown_background();
}

/// A call that occupies its thread for a while, several times.
fn busy(bulkhead: &'static Bulkhead) -> OwnTask<Result<(), tinybase_abi::error::RawError>> {
    OwnTask::spawn(Guarded::new(bulkhead, (), Work::Request, |_: &()| {
        Box::pin(async {
            for _ in 0..3 {
                std::thread::sleep(Duration::from_millis(3));
                tokio::task::yield_now().await;
            }
        })
    }))
}

#[test]
fn calls_that_only_take_long_make_no_threads() {
    on_runtime(2, async {
        let bulkhead = Bulkhead::leak("busy", 64);
        let calls: Vec<_> = (0..200).map(|_| busy(bulkhead)).collect();
        for call in calls {
            call.await.unwrap().unwrap();
        }
        // The workers, and a few more if the machine itself was too slow.
        let threads = super::threads::notes().len();
        assert!((3..12).contains(&threads), "{threads} threads");
    });
}

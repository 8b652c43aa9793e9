//! A plugin that blocks the calling thread in every kind of call. The environment variable `BLOCKING_SWITCH` chooses
//! what blocks without a request.

use std::{
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tinybase_abi::{error::RawError, response::PullBody};
use tinybase_plugin_api::prelude::*;

/// Longer than any test waits.
const LONG: Duration = Duration::from_secs(90);

fn switch() -> &'static str {
    static SWITCH: OnceLock<String> = OnceLock::new();
    SWITCH.get_or_init(|| std::env::var("BLOCKING_SWITCH").unwrap_or_default())
}

fn sleep() {
    std::thread::sleep(LONG);
}

fn spin() {
    let begun = Instant::now();
    while begun.elapsed() < LONG {
        std::hint::spin_loop();
    }
}

/// Blocks the thread that drops it.
struct Heavy;

impl Drop for Heavy {
    fn drop(&mut self) {
        sleep();
    }
}

/// Blocks the thread that polls it for the second time.
#[derive(Default)]
struct SecondPoll(bool);

impl Future for SecondPoll {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            sleep();
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Yields one part; the second one never arrives.
struct Parts(u32);

impl PullBody for Parts {
    async fn next(&mut self) -> Result<Option<Vec<u8>>, RawError> {
        self.0 += 1;
        if self.0 > 1 {
            sleep();
        }
        Ok(Some(b"part".to_vec()))
    }
}

struct Blocking {
    host: Host,
}

#[tinybase_plugin_api::export]
impl Plugin for Blocking {
    fn create(host: Host) -> Result<Blocking> {
        Ok(Blocking { host })
    }

    fn register(registry: &mut Registry<Blocking>) {
        registry.get("/api/blocking/{how}", Blocking::answer);
        registry.post("/api/blocking/{how}", Blocking::answer);
        registry.before("record.create", None, 0, Blocking::before);
        registry.after("record.create", None, Blocking::after);
        registry.service("block", 1, Blocking::serve);
        if switch() == "job" {
            registry.every(Duration::from_millis(50), "block", Blocking::job);
        }
    }

    async fn shut_down(self: Arc<Self>) {
        if switch() == "shut_down" {
            sleep();
        }
    }
}

impl Blocking {
    async fn answer(self: Arc<Self>, request: Request) -> Result<Response> {
        match request.param(0) {
            "sleep" => sleep(),
            "spin" => spin(),
            "short" => std::thread::sleep(Duration::from_millis(600)),
            "second_poll" => SecondPoll::default().await,
            "after_sleep" => {
                self.host.sleep(Duration::from_millis(10)).await?;
                sleep();
            }
            "drop" => {
                let _heavy = Heavy;
                std::future::pending::<()>().await;
            }
            "stream" => return Ok(Response::stream("text/plain", Parts(0))),
            "service" => return Response::json(&self.host.call("block", 1, "block", &Json::Null).await?),
            "task" => self.host.spawn(async { sleep() })?,
            "wake" => {
                // Wakes the listeners, and blocks immediately.
                self.host.topic("record.create")?.after("things", &json!({"record": {}}))?;
                sleep();
            }
            _ => {}
        }
        Response::json(&"fine")
    }

    async fn before(self: Arc<Self>, event: Event) -> Result<HookOutcome> {
        if event.parse::<Json>()?["record"]["block"] == "before" {
            sleep();
        }
        Ok(HookOutcome::accept())
    }

    async fn after(self: Arc<Self>, event: Event) -> Result<()> {
        if event.parse::<Json>()?["record"]["block"] == "after" {
            sleep();
        }
        Ok(())
    }

    async fn serve(self: Arc<Self>, _method: String, _payload: Json) -> Result<Json> {
        sleep();
        Ok(Json::Null)
    }

    async fn job(self: Arc<Self>) -> Result<()> {
        sleep();
        Ok(())
    }
}

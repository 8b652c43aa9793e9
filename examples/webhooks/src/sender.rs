//! Sends due deliveries: takes a lease, so that no other node sends the same delivery, signs it, and stores the result.
//! Slow receivers delay neither the job nor other hooks.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tinybase_plugin_api::{
    audit::Entry,
    http::{HttpRequest, HttpResponse},
    log,
    prelude::*,
};

use crate::{Webhooks, access::Judgement, hook::Hook, secret::SigningKey, settings::Settings, time::Moment};

/// The maximum number of concurrent sends on this node.
const SENDS_MAX: usize = 32;
/// The maximum number of concurrent sends of one hook.
const SENDS_OF_HOOK_MAX: usize = 4;
/// The time that a lease lasts beyond the timeout of a try.
const LEASE_MARGIN: Duration = Duration::from_secs(2);
/// The shortest and longest pause between attempts to give back a try. The pauses double, and add up to half a minute.
const GIVE_BACK_PAUSE_MIN: Duration = Duration::from_millis(500);
const GIVE_BACK_PAUSE_MAX: Duration = Duration::from_secs(16);
/// The size limit of a response in bytes. Its body is ignored.
const ANSWER_BYTES_MAX: u64 = 64 << 10;
/// The maximum length of a stored error in characters.
const ERROR_CHARS_MAX: usize = 500;

const HOOKS_WITH_WORK: &str = "SELECT id FROM webhooks_hooks WHERE is_active = 1 AND EXISTS ( \
     SELECT 1 FROM webhooks_deliveries WHERE webhooks_deliveries.hook_id = webhooks_hooks.id \
     AND state = 'pending' AND next_attempt_at <= ?1)";
// If two nodes run it at once, the second finds next_attempt_at changed, and takes nothing.
const TAKE: &str = "UPDATE webhooks_deliveries SET attempts = attempts + 1, last_attempt_at = ?2, next_attempt_at = ?3 \
     WHERE id IN (SELECT id FROM webhooks_deliveries WHERE hook_id = ?1 AND state = 'pending' AND next_attempt_at <= ?2 \
     ORDER BY next_attempt_at LIMIT ?4) AND state = 'pending' AND next_attempt_at <= ?2 \
     RETURNING id, event_id, payload, attempts, judged";
// The number of attempts shows whether the lease is still this one.
const DELIVERED: &str = "UPDATE webhooks_deliveries SET state = 'delivered', response_status = ?3, error = NULL, \
     finished_at = ?4 WHERE id = ?1 AND attempts = ?2 AND state = 'pending'";
const FAILED: &str = "UPDATE webhooks_deliveries SET state = ?3, response_status = ?4, error = ?5, next_attempt_at = ?6, \
     finished_at = ?7 WHERE id = ?1 AND attempts = ?2 AND state = 'pending'";
// It never reached the receiver, so it does not count as a try.
const GIVE_BACK: &str = "UPDATE webhooks_deliveries SET attempts = attempts - 1, error = ?3, next_attempt_at = ?4 \
     WHERE id = ?1 AND attempts = ?2 AND state = 'pending'";
const NO_FAILURES: &str = "UPDATE webhooks_hooks SET failures = 0 WHERE id = ?1 AND failures > 0";
const ONE_FAILURE: &str =
    "UPDATE webhooks_hooks SET failures = failures + 1 WHERE id = ?1 RETURNING failures";
const SWITCH_OFF: &str = "UPDATE webhooks_hooks SET is_active = 0, inactive_reason = ?2, updated_at = ?3 \
     WHERE id = ?1 AND is_active = 1";

/// The number of deliveries being sent on this node, by hook.
#[derive(Default)]
pub(crate) struct Busy(Mutex<HashMap<String, usize>>);

/// A slot among the concurrent sends. Released when dropped.
struct SendSlot {
    busy: Arc<Busy>,
    hook_id: String,
}

impl Busy {
    fn counts(&self) -> std::sync::MutexGuard<'_, HashMap<String, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many more deliveries of this hook may be sent.
    fn free(&self, hook_id: &str) -> usize {
        let counts = self.counts();
        let of_hook = SENDS_OF_HOOK_MAX.saturating_sub(counts.get(hook_id).copied().unwrap_or(0));
        of_hook.min(SENDS_MAX.saturating_sub(counts.values().sum()))
    }

    fn begin(self: &Arc<Self>, hook_id: &str) -> SendSlot {
        *self.counts().entry(hook_id.to_owned()).or_default() += 1;
        SendSlot { busy: Arc::clone(self), hook_id: hook_id.to_owned() }
    }
}

impl Drop for SendSlot {
    fn drop(&mut self) {
        let mut counts = self.busy.counts();
        if let Some(count) = counts.get_mut(&self.hook_id) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.hook_id);
            }
        }
    }
}

/// A delivery that this node has leased.
struct LeasedDelivery {
    id: String,
    event_id: String,
    body: String,
    attempts: i64,
    /// The snapshots that decide the owner's rights, together with the body.
    snapshots: Option<String>,
}

/// The result of a failed try.
struct Failure {
    status: Option<i64>,
    problem: String,
}

impl Webhooks {
    /// Takes due deliveries and sends each in its own task.
    pub(crate) async fn send_due(self: Arc<Self>) -> Result<()> {
        let now = Moment::now(self.database).await?;
        let waiting = self.database.query(ReadHint::Indexed, HOOKS_WITH_WORK, params![now.text()]).await?;
        if waiting.is_empty() {
            return Ok(());
        }
        let (settings, key) = (Arc::new(self.settings().await?), Arc::new(self.signing_key().await?));
        for row in &waiting {
            let hook = match self.hook(row.text(0)?).await {
                Ok(hook) => Arc::new(hook),
                // It was just deleted.
                Err(error) if error.status() == 404 => continue,
                Err(error) => return Err(error),
            };
            for delivery in self.take(&hook, &settings, now).await? {
                self.send(&hook, &settings, &key, delivery)?;
            }
        }
        Ok(())
    }

    /// Sends a delivery in the background.
    fn send(
        self: &Arc<Self>,
        hook: &Arc<Hook>,
        settings: &Arc<Settings>,
        key: &Arc<SigningKey>,
        delivery: LeasedDelivery,
    ) -> Result<()> {
        let slot = self.busy.begin(&hook.id);
        let (this, hook, settings, key) =
            (Arc::clone(self), Arc::clone(hook), Arc::clone(settings), Arc::clone(key));
        self.host.spawn(async move {
            let _slot = slot;
            if let Err(error) = this.deliver(&hook, &settings, &key, &delivery).await {
                // The lease expires, and it is sent again.
                log::warn(format!("what came of the delivery {} was not noted: {error}", delivery.id));
            }
        })
    }

    async fn take(&self, hook: &Hook, settings: &Settings, now: Moment) -> Result<Vec<LeasedDelivery>> {
        let free = i64::try_from(self.busy.free(&hook.id)).unwrap_or(0);
        if free == 0 {
            return Ok(Vec::new());
        }
        let until = now.after(settings.timeout() + LEASE_MARGIN);
        let mut batch = Batch::default();
        batch.push(TAKE, params![hook.id.as_str(), now.text(), until.text(), free]);
        let applied = self.database.apply(batch).await?;
        let rows = applied.statements.first().map(|statement| &statement.rows);
        let rows = rows.into_iter().flat_map(|rows| rows.iter());
        rows.map(|row| {
            Ok(LeasedDelivery {
                id: row.text(0)?.to_owned(),
                event_id: row.text(1)?.to_owned(),
                body: row.text(2)?.to_owned(),
                attempts: row.integer(3)?,
                snapshots: row.text_or_null(4)?.map(str::to_owned),
            })
        })
        .collect()
    }

    async fn deliver(
        &self,
        hook: &Hook,
        settings: &Settings,
        key: &SigningKey,
        delivery: &LeasedDelivery,
    ) -> Result<()> {
        let (now, body) = match self.prepare(hook, delivery).await {
            Ok((now, Judgement::Send(body))) => (now, body),
            Ok((now, Judgement::Withhold(reason))) => return self.withheld(delivery, reason, now).await,
            Err(error) => return self.give_back(settings, delivery, &error).await,
        };
        let outcome = self.http.send(&request(hook, settings, key, (delivery, &body), now)).await;
        let now = Moment::now(self.database).await?;
        let failure = match outcome {
            Ok(answer) if answer.is_success() => return self.delivered(hook, delivery, &answer, now).await,
            Ok(answer) => Failure {
                status: Some(answer.status().into()),
                problem: format!("the receiver answered {}", answer.status()),
            },
            Err(error) => Failure { status: None, problem: error.to_string() },
        };
        self.failed(hook, settings, delivery, failure, now).await
    }

    /// Returns the time and what to send now, if anything.
    async fn prepare(&self, hook: &Hook, delivery: &LeasedDelivery) -> Result<(Moment, Judgement)> {
        let judgement = self.judge_again(hook, &delivery.body, delivery.snapshots.as_deref()).await?;
        Ok((Moment::now(self.database).await?, judgement))
    }

    /// Gives back a try that failed on this side, before the receiver was contacted. It becomes due again later, and
    /// neither the delivery nor the hook counts it. Retries a few times, since the database may be what failed.
    async fn give_back(&self, settings: &Settings, delivery: &LeasedDelivery, error: &Error) -> Result<()> {
        let problem: String = format!("not tried: {error}").chars().take(ERROR_CHARS_MAX).collect();
        let wait = settings.backoff(delivery.attempts, rand::random());
        let mut pause = GIVE_BACK_PAUSE_MIN;
        loop {
            match self.put_off(delivery, &problem, wait).await {
                Err(error) if pause > GIVE_BACK_PAUSE_MAX => return Err(error),
                Err(_) => self.host.sleep(pause).await?,
                Ok(()) => return Ok(()),
            }
            pause *= 2;
        }
    }

    async fn put_off(&self, delivery: &LeasedDelivery, problem: &str, wait: Duration) -> Result<()> {
        let next = Moment::now(self.database).await?.after(wait).text();
        let params = params![delivery.id.as_str(), delivery.attempts, problem, next];
        self.database.execute(GIVE_BACK, params).await.map(|_| ())
    }

    /// Stores that a delivery is not sent. It says nothing about the receiver, so it is not a failure of the hook.
    async fn withheld(&self, delivery: &LeasedDelivery, reason: &str, now: Moment) -> Result<()> {
        let (status, problem) = (None::<i64>, format!("not sent: {reason}"));
        let mut batch = Batch::default();
        let (id, attempts, now) = (delivery.id.as_str(), delivery.attempts, now.text());
        batch.push(FAILED, params![id, attempts, "dead", status, problem, now.as_str(), now.as_str()]);
        self.database.apply(batch).await.map(|_| ())
    }

    async fn delivered(
        &self,
        hook: &Hook,
        delivery: &LeasedDelivery,
        answer: &HttpResponse,
        now: Moment,
    ) -> Result<()> {
        let mut batch = Batch::default();
        batch.push(
            DELIVERED,
            params![delivery.id.as_str(), delivery.attempts, i64::from(answer.status()), now.text()],
        );
        batch.push(NO_FAILURES, params![hook.id.as_str()]);
        self.database.apply(batch).await.map(|_| ())
    }

    async fn failed(
        &self,
        hook: &Hook,
        settings: &Settings,
        delivery: &LeasedDelivery,
        failure: Failure,
        now: Moment,
    ) -> Result<()> {
        let is_dead = delivery.attempts >= settings.attempts_max;
        let (state, finished_at) = if is_dead { ("dead", Some(now.text())) } else { ("pending", None) };
        let next = now.after(settings.backoff(delivery.attempts, rand::random()));
        let problem: String = failure.problem.chars().take(ERROR_CHARS_MAX).collect();
        let mut batch = Batch::default();
        batch.push(
            FAILED,
            params![
                delivery.id.as_str(),
                delivery.attempts,
                state,
                failure.status,
                problem,
                next.text(),
                finished_at
            ],
        );
        batch.push(ONE_FAILURE, params![hook.id.as_str()]);
        let applied = self.database.apply(batch).await?;
        let counted = applied.statements.get(1).and_then(|statement| statement.rows.first());
        let failures = counted.map_or(Ok(0), |row| row.integer(0))?;
        let reason = match (failure.status, settings.disable_after_failures) {
            // The receiver reports that it is gone for good.
            (Some(410), _) => Some("the receiver answered 410, Gone".to_owned()),
            (_, max) if max > 0 && failures >= max => Some(format!("{failures} tries in a row failed")),
            _ => None,
        };
        match reason {
            Some(reason) => self.switch_off(hook, &reason, now).await,
            None => Ok(()),
        }
    }

    async fn switch_off(&self, hook: &Hook, reason: &str, now: Moment) -> Result<()> {
        let mut batch = Batch::default();
        batch.push_expecting(Expect::Exactly(1), SWITCH_OFF, params![hook.id.as_str(), reason, now.text()]);
        let entry = Entry::new("switch_off", "webhook", hook.id.as_str())
            .with_change(json!({"is_active": {"from": true, "to": false}, "reason": reason}));
        batch.append(self.audit.entry(&entry).await?)?;
        match self.database.apply(batch).await {
            Ok(_) => log::warn(format!("the hook {} was switched off: {reason}", hook.id)),
            // Another delivery of it, or a user, changed the hook first.
            Err(error) if error.code() == "db_condition" => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Builds the request of a try. The body is the same each time, as long as the owner may read it. The time is new, and
/// so is the signature.
fn request(
    hook: &Hook,
    settings: &Settings,
    key: &SigningKey,
    (delivery, body): (&LeasedDelivery, &str),
    now: Moment,
) -> HttpRequest {
    let mut request = HttpRequest::post(&hook.url)
        .with_header("content-type", "application/json")
        .with_header("user-agent", concat!("tinybase-webhooks/", env!("CARGO_PKG_VERSION")))
        .with_header("webhook-id", delivery.event_id.as_str())
        .with_header("webhook-timestamp", now.seconds().to_string())
        .with_header("webhook-signature", key.sign(hook, now, &delivery.event_id, body))
        .with_body(body)
        .with_timeout(settings.timeout())
        .with_response_bytes_max(ANSWER_BYTES_MAX);
    for (name, value) in &hook.headers {
        request = request.with_header(name, value.as_str());
    }
    request
}

//! Follows, for as long as the server serves, what is installed and enabled: whatever another process changed of that is
//! taken up here. It never changes it.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    LoadError, Plugins,
    lifecycle::{Part, Step},
    member::Leaving,
    store::Installed,
};

/// How often it is looked whether another process changed anything at all; that costs no statement.
const GLANCE_EVERY: Duration = Duration::from_millis(100);
/// How often the rows are read where nothing says that they changed.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Follows until the server stops.
pub(super) async fn run(plugins: Plugins, mut followed: Vec<Installed>) {
    let mut faults = Faults::default();
    faults.note(plugins.tell_state().await.map_err(LoadError::from));
    // What was said last to whoever carries out a change.
    let mut said = None;
    let mut watch = Watch::of(&plugins);
    while !plugins.process.is_stopped() {
        watch.changed(&plugins).await;
        faults.note(plugins.follow_once(&mut followed, &mut said).await);
    }
}

/// When there is something to look at.
struct Watch {
    changes: u64,
    looked: Instant,
}

impl Watch {
    fn of(plugins: &Plugins) -> Watch {
        Watch { changes: plugins.shared.database.foreign_changes(), looked: Instant::now() }
    }

    /// Waits until something may have changed.
    async fn changed(&mut self, plugins: &Plugins) {
        loop {
            tokio::select! {
                () = plugins.process.woken.notified() => break,
                () = tokio::time::sleep(GLANCE_EVERY) => {}
            }
            let now = plugins.shared.database.foreign_changes();
            if now != self.changes || self.looked.elapsed() >= LOOK_EVERY {
                self.changes = now;
                break;
            }
        }
        self.looked = Instant::now();
    }
}

/// Logs the first of several faults in a row.
#[derive(Default)]
struct Faults {
    failing: bool,
}

impl Faults {
    fn note(&mut self, outcome: Result<(), LoadError>) {
        if let Err(error) = &outcome {
            if self.failing {
                tracing::debug!(%error, "what is installed still cannot be followed");
            } else {
                tracing::warn!(%error, "what is installed and enabled cannot be followed");
            }
        }
        self.failing = outcome.is_err();
    }
}

impl Plugins {
    /// Carries out what is asked for, does its part in what others carry out, and takes up what they have changed.
    async fn follow_once(
        &self,
        followed: &mut Vec<Installed>,
        said: &mut Option<(String, Step)>,
    ) -> Result<(), LoadError> {
        // A process that had the right may have ended.
        self.hold.take().map_err(|error| LoadError::file("the lock of changes", &error))?;
        self.recover().await?;
        if self.hold.may_carry() {
            self.serve_requests().await?;
        }
        let part = self.take_part(said).await?;
        if matches!(part, Part::Wait) {
            return Ok(());
        }
        let turn = self.process.turn.lock().await;
        if !self.process.is_stopped() {
            self.take_up(followed).await?;
        }
        drop(turn);
        if let Part::TakeUpAndTell(entry) = part {
            self.tell_taken_up(&entry, said).await?;
        }
        Ok(())
    }

    /// Takes up the rows where they are others than those that were taken up before.
    async fn take_up(&self, followed: &mut Vec<Installed>) -> Result<(), LoadError> {
        let installed = self.store.all().await?;
        let is_same = |one: &Installed, other: &Installed| {
            one.is_wanted() == other.is_wanted()
                && (&one.name, &one.hash, &one.updated_at) == (&other.name, &other.hash, &other.updated_at)
        };
        if installed.len() == followed.len()
            && installed.iter().zip(&*followed).all(|(one, other)| is_same(one, other))
        {
            return Ok(());
        }
        let taken_up = self.follow().await?;
        for gone in followed.iter().filter(|one| installed.iter().all(|other| other.name != one.name)) {
            self.forget_packages(&gone.name, &[]).await;
        }
        *followed = installed;
        self.tell_state().await?;
        self.write_lock_file().await;
        tracing::info!(extensions = ?self.loaded(), "what is installed or enabled has changed");
        self.drain(taken_up.leaving);
        Ok(())
    }

    /// Lets what left service end, in a task of its own.
    pub(super) fn drain(&self, leaving: Vec<Leaving>) {
        let timeout = self.shared.limits.drain_timeout;
        for one in leaving {
            tokio::spawn(one.drained(timeout));
        }
    }
}

//! The only way to change what is installed or enabled, and how a server handles changes requested elsewhere.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    change::{Change, ChangeError, Changed, Kind},
    journal::{Entry, Journal, Step},
};
use crate::{
    audit::Actor,
    db::{DbError, Engine},
    http::etag::IfMatch,
    plugins::{LoadError, Plugins, Purpose, install, process::Outlook, store},
};

/// How often to check whether a change has ended or may begin.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// How long a server may take to begin a requested change.
const CLAIM_TIME_MAX: Duration = Duration::from_secs(10);

impl Plugins {
    /// Makes a change and returns once it is made on every node. Only one change is made at a time; this one
    /// waits for its turn, at most `extensions.change_timeout_ms`.
    ///
    /// A serving process carries it out itself, even if the caller goes away. In other processes the server
    /// of this database carries it out. If there is no server, this process does: it loads what is enabled
    /// and ends it again.
    ///
    /// # Errors
    /// A [`ChangeError`] with a stable code. What ran before keeps running.
    pub async fn change(&self, change: Change, actor: &Actor) -> Result<Changed, ChangeError> {
        self.change_if(change, actor, &IfMatch::default()).await
    }

    /// Does the same, but only if the extension is in a state that `if_match` names.
    ///
    /// # Errors
    /// Also `precondition_failed`.
    pub async fn change_if(
        &self,
        change: Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Changed, ChangeError> {
        let (plugins, actor, if_match) = (self.clone(), actor.clone(), if_match.clone());
        let is_server = self.process.purpose() == Purpose::Serve && self.change_lock.is_held();
        let made = tokio::spawn(async move {
            if is_server {
                plugins.change_here(&change, &actor, &if_match).await
            } else {
                plugins.change_from_outside(&change, &actor, &if_match).await
            }
        });
        made.await.map_err(|error| LoadError::Panicked(error.to_string()))?
    }

    pub(in crate::plugins) fn journal(&self) -> Journal {
        Journal::new(self.store.sql().clone(), self.nodes.id().clone())
    }

    fn change_deadline(&self) -> Instant {
        Instant::now() + self.shared.limits.change_timeout
    }

    /// Records the change as soon as no other one is open, and carries it out in this process.
    async fn change_here(
        &self,
        change: &Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Changed, ChangeError> {
        let journal = self.journal();
        let deadline = self.change_deadline();
        loop {
            let entry = self.entry_of(change, actor, if_match).await?;
            if journal.request(&entry).await? {
                if let Some(outcome) = self.claim_and_execute(&entry).await? {
                    return outcome;
                }
                // Another node was faster to claim it.
                return self.outcome_of(&entry, deadline).await;
            }
            // The open change may have no other process to carry it out.
            if self.change_lock.is_held() {
                self.serve_requests().await?;
            }
            wait_for_turn(deadline).await?;
        }
    }

    /// Makes a change from a command.
    async fn change_from_outside(
        &self,
        change: &Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Changed, ChangeError> {
        let journal = self.journal();
        let deadline = self.change_deadline();
        loop {
            if self.take_over_from_servers().await? {
                if self.process.purpose() == Purpose::Serve {
                    return self.change_here(change, actor, if_match).await;
                }
                return self.change_alone(change, actor, if_match).await;
            }
            if let Change::Install { package, .. } | Change::Update { package, .. } = change {
                // The server may not have access to the package's folder.
                self.stage_for_server(package).await?;
            }
            let entry = self.entry_of(change, actor, if_match).await?;
            if journal.request(&entry).await?
                && let Some(outcome) = self.claimed_outcome(&entry, deadline).await
            {
                return outcome;
            }
            wait_for_turn(deadline).await?;
        }
    }

    /// Returns whether no server serves the database, so that this process may carry out changes.
    async fn take_over_from_servers(&self) -> Result<bool, ChangeError> {
        if self.shared.database.engine() == Engine::Postgres && !self.nodes.list().await?.is_empty() {
            return Ok(false);
        }
        Ok(self.change_lock.take().map_err(|error| LoadError::file("the lock of changes", &error))?)
    }

    async fn change_alone(
        &self,
        change: &Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Changed, ChangeError> {
        self.load(Purpose::Command, false).await?;
        let changed = self.change_here(change, actor, if_match).await;
        self.shut_down(self.shared.limits.call_timeout).await;
        changed
    }

    /// Copies a package to where a server can find it.
    async fn stage_for_server(&self, package: &crate::plugins::package::Package) -> Result<(), ChangeError> {
        if self.shared.database.engine() == Engine::Postgres {
            return self.archive(package).await;
        }
        let name = store::folder_name(&package.manifest.version.to_string(), &package.hash);
        let (source, target) = (package.clone(), self.folder_of(&package.manifest.name, &name));
        let placed = tokio::task::spawn_blocking(move || install::place(&source, &target));
        Ok(placed.await.map_err(|error| LoadError::Panicked(error.to_string()))??)
    }

    /// Returns the outcome of a change requested from a server, or `None` if no server claimed it and this
    /// process may do so now.
    async fn claimed_outcome(
        &self,
        entry: &Entry,
        deadline: Instant,
    ) -> Option<Result<Changed, ChangeError>> {
        let journal = self.journal();
        let asked = Instant::now();
        loop {
            match journal.find(&entry.id).await {
                Ok(Some(now)) if now.is_ended => return Some(now.outcome()),
                Ok(Some(now)) if now.carrier.is_some() => {
                    if let Err(error) = self.recover_from_outside(&now).await {
                        return Some(Err(error));
                    }
                    if Instant::now() >= deadline {
                        return Some(Err(slow()));
                    }
                    tokio::time::sleep(LOOK_EVERY).await;
                    continue;
                }
                Ok(Some(_)) => {}
                Ok(None) => return Some(Err(withdrawn())),
                Err(error) => return Some(Err(error.into())),
            }
            let is_held = self.take_over_from_servers().await.unwrap_or(false);
            let is_silent = asked.elapsed() > CLAIM_TIME_MAX;
            if (is_held || is_silent) && journal.withdraw(&entry.id).await.unwrap_or(false) {
                if is_held {
                    return None;
                }
                let told = "the server that serves this database did not take the change up; see its log";
                return Some(Err(ChangeError::new("server_silent", told)));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Completes or undoes a change whose server crashed, so that nobody has to wait for the server's next
    /// start.
    async fn recover_from_outside(&self, entry: &Entry) -> Result<(), ChangeError> {
        if !self.take_over_from_servers().await? {
            return Ok(());
        }
        let is_gone =
            self.shared.database.engine() == Engine::Sqlite || self.journal().is_abandoned(entry).await?;
        if is_gone {
            self.load(Purpose::Command, false).await?;
            self.shut_down(self.shared.limits.call_timeout).await;
        }
        Ok(())
    }

    /// Waits for the end of a change that another process carries out.
    async fn outcome_of(&self, entry: &Entry, deadline: Instant) -> Result<Changed, ChangeError> {
        let journal = self.journal();
        loop {
            match journal.find(&entry.id).await? {
                Some(now) if now.is_ended => return now.outcome(),
                Some(_) => {}
                None => return Err(withdrawn()),
            }
            if Instant::now() >= deadline {
                return Err(slow());
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    async fn entry_of(
        &self,
        change: &Change,
        actor: &Actor,
        if_match: &IfMatch,
    ) -> Result<Entry, ChangeError> {
        let installed = self.store.find(change.name()).await?;
        if installed.is_none() && !matches!(change, Change::Install { .. }) {
            return Err(ChangeError::not_installed(change.name()));
        }
        let from = installed.as_ref().map(|one| (one.version.as_str(), one.hash.as_str()));
        let mut entry = Entry::new(change, from, actor);
        entry.details.if_match = if_match.header().map(str::to_owned);
        Ok(entry)
    }

    /// Carries out a change that was requested elsewhere and that nobody has claimed. Only returns database
    /// errors.
    pub(in crate::plugins) async fn serve_requests(&self) -> Result<(), ChangeError> {
        let Some(entry) = self.journal().open().await?.filter(|entry| entry.carrier.is_none()) else {
            return Ok(());
        };
        // The requester reads the outcome from the journal.
        self.claim_and_execute(&entry).await.map(drop)
    }

    /// Carries out a change that nobody has claimed. Returns `None` if another process was faster.
    async fn claim_and_execute(
        &self,
        entry: &Entry,
    ) -> Result<Option<Result<Changed, ChangeError>>, ChangeError> {
        self.process.set_executing(Some(&entry.id));
        let outcome = match self.journal().claim(entry).await {
            Ok(true) => {
                let carrier = Some(self.nodes.id().to_string());
                Ok(Some(self.execute(Entry { carrier, ..entry.clone() }).await))
            }
            Ok(false) => Ok(None),
            Err(error) => Err(error.into()),
        };
        self.process.set_executing(None);
        outcome
    }

    /// Does this node's part in another node's change.
    pub(in crate::plugins) async fn participate(
        &self,
        said: &mut Said,
    ) -> Result<Participation, ChangeError> {
        let Some(entry) = self.journal().open().await? else { return Ok(Participation::Reconcile) };
        if entry.carrier.is_none() {
            return Ok(Participation::Reconcile);
        }
        if entry.carrier.as_deref() == Some(self.nodes.id()) {
            return Ok(Participation::Wait);
        }
        match entry.step {
            Step::Migrated | Step::Started => return Ok(Participation::Wait),
            Step::Prepared if said.lacks(&entry, Step::Prepared) => {
                let outcome = self.prepare(&entry).await;
                self.report(&entry.id, Step::Prepared, &outcome).await?;
                said.note(&entry, Step::Prepared);
            }
            step if entry.is_recorded() && step >= Step::Swapped => {
                if said.lacks(&entry, Step::Swapped) {
                    return Ok(Participation::ReconcileAndReport(Box::new(entry)));
                }
                if entry.kind == Kind::Rollback
                    && step >= Step::Drained
                    && said.lacks(&entry, Step::Drained)
                    && !self.process.is_draining(&entry.name)
                {
                    self.report(&entry.id, Step::Drained, &Ok(())).await?;
                    said.note(&entry, Step::Drained);
                }
            }
            _ => {}
        }
        Ok(Participation::Reconcile)
    }

    /// Reports to the node that carries out a change whether it is applied here. Temporary failures are not
    /// reported: they are retried first.
    pub(in crate::plugins) async fn report_reconciled(
        &self,
        entry: &Entry,
        said: &mut Said,
    ) -> Result<(), ChangeError> {
        let outcome = if self.is_up(entry).await? {
            Ok(())
        } else {
            let failure = self.process.failures().remove(&entry.name);
            if failure.is_none_or(|failure| failure.outlook == Outlook::Passing) {
                return Ok(());
            }
            Err(self.process.failure(&entry.name))
        };
        self.report(&entry.id, Step::Swapped, &outcome).await?;
        said.note(entry, Step::Swapped);
        Ok(())
    }
}

/// What this node has reported to the node that carries out a change.
#[derive(Debug, Default)]
pub(in crate::plugins) struct Said {
    change: String,
    steps: Vec<Step>,
}

impl Said {
    fn lacks(&self, entry: &Entry, step: Step) -> bool {
        self.change != entry.id || !self.steps.contains(&step)
    }

    fn note(&mut self, entry: &Entry, step: Step) {
        if self.change != entry.id {
            *self = Said { change: entry.id.clone(), steps: Vec::new() };
        }
        self.steps.push(step);
    }
}

/// What a node does while a change may be in progress.
pub(in crate::plugins) enum Participation {
    /// It applies what is installed.
    Reconcile,
    /// It applies what is installed, and reports whether that worked.
    ReconcileAndReport(Box<Entry>),
    /// It waits: the row already contains the change, but the carrier does not run it yet, or this node
    /// itself is the carrier.
    Wait,
}

async fn wait_for_turn(deadline: Instant) -> Result<(), ChangeError> {
    if Instant::now() >= deadline {
        let told = "another change of extensions is being made; try again once it is over";
        return Err(ChangeError::new("change_in_progress", told));
    }
    tokio::time::sleep(LOOK_EVERY).await;
    Ok(())
}

fn slow() -> ChangeError {
    let told = "the change goes on, and takes longer than extensions.change_timeout_ms; see: tinybase extensions list";
    ChangeError::new("change_timeout", told)
}

fn withdrawn() -> ChangeError {
    ChangeError::from(DbError::Closed("the change was taken back by another process".to_owned()))
}

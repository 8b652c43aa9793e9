//! Copies an instance from one database into another, between SQLite and PostgreSQL in any direction. The source is
//! only read. Progress is stored together with the rows, so that an interrupted copy can be resumed.

mod digest;
mod error;
mod extensions;
mod nodes;
mod pages;
mod schema;
mod sequences;
mod side;
mod state;
mod tables;
mod verify;
mod write;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use tinybase_abi::codec::BatchWriter;

pub use error::CopyError;
pub use side::{STATEMENT_TIME_MAX, Side};
pub use verify::Verified;

use self::{
    pages::{Page, Pages},
    state::{Progress, Stage, State, Whole},
    tables::Table,
    write::Writer,
};
use crate::{
    config,
    db::{Database, DbError, ScopedBatch},
    nodes::KeyConsistency,
    plugins::{Console, Plugins, package::Package},
};

/// Tables whose rows belong to one database or one moment: applied migrations, running nodes, the last changes, the
/// nodes' changes of extensions, and tried second-factor tickets, which are kept for minutes.
const NOT_COPIED: [&str; 9] = [
    "tb_migrations",
    "tb_nodes",
    "tb_changes",
    "tb_extension_changes",
    "tb_extension_nodes",
    "tb_extension_reports",
    "tb_extension_archives",
    "tb_mfa_tickets",
    state::TABLE,
];

/// Refuses a database that is the target of an unfinished copy.
///
/// # Errors
/// [`CopyError::Unfinished`], and those of the database.
pub async fn refuse_unfinished(db: &Arc<dyn Database>) -> Result<(), CopyError> {
    if tables::exists(&Side::new(Arc::clone(db)), state::TABLE).await? {
        return Err(CopyError::Unfinished);
    }
    Ok(())
}

/// A copy from one database to another.
pub struct Copy {
    /// The database to copy from.
    pub source: Side,
    /// The database to copy to.
    pub target: Side,
    /// The extensions that are installed in the source.
    pub installed: Arc<Plugins>,
    /// The same extensions on the target, which are called for the plans of their tables.
    pub asked: Arc<Plugins>,
    /// Shows the progress.
    pub console: Console,
    /// Compares the keys of this folder with those that the source is served with.
    pub keys: KeyConsistency,
    /// The node configuration by which a running server on either side is detected; `None` skips the check.
    pub unserved: Option<config::Node>,
}

/// The result of a copy.
#[derive(Debug, Clone)]
pub struct Report {
    /// All copied tables, which are now equal on both sides.
    pub tables: Vec<Verified>,
    /// Rows that an earlier run copied.
    pub rows_before: u64,
}

/// The state of a run after both sides were checked.
struct Run<'a> {
    copy: &'a Copy,
    packages: Vec<Package>,
    source: BTreeMap<String, Table>,
    target: BTreeMap<String, Table>,
    state: State,
    rows_total: u64,
    rows_done: u64,
}

impl Copy {
    /// Copies everything, or the rest of an earlier run, and compares both sides.
    ///
    /// # Errors
    /// See [`CopyError`].
    pub async fn run(&self) -> Result<Report, CopyError> {
        if !tables::exists(&self.source, "tb_migrations").await? {
            return Err(CopyError::NoInstance);
        }
        if let Some(config) = &self.unserved {
            nodes::refuse_served(&self.source, "source", config).await?;
            nodes::refuse_served(&self.target, "target", config).await?;
        }
        let packages = self.installed.installed_packages().await?;
        schema::check_source(&self.source, &self.target, &packages).await?;
        self.keys.check().await?;
        let source = tables::list(&self.source).await?;
        let fingerprint = schema::fingerprint(&self.source, &source).await?;
        let state = match State::read(&self.target).await? {
            Some(state) if state.whole.source == fingerprint => state,
            Some(_) => return Err(CopyError::OtherSource),
            None => match schema::first_table(&self.target).await? {
                Some(table) => return Err(CopyError::NotEmpty(table)),
                None => State::begin(&self.target, fingerprint).await?,
            },
        };
        let rows_before = state.tables.values().map(|progress| progress.rows).sum();
        let target = BTreeMap::new();
        let (rows_total, rows_done) = (0, rows_before);
        let mut run = Run { copy: self, packages, source, target, state, rows_total, rows_done };
        let tables = run.all().await?;
        Ok(Report { tables, rows_before })
    }
}

impl Run<'_> {
    async fn all(&mut self) -> Result<Vec<Verified>, CopyError> {
        if self.state.whole.stage == Stage::Schema {
            schema::make(&self.copy.target, &self.packages).await?;
            self.target = tables::list(&self.copy.target).await?;
            self.plan_rows().await?;
        }
        self.target = tables::list(&self.copy.target).await?;
        self.count_rows().await?;
        if self.state.whole.stage == Stage::Rows {
            self.copy_tables().await?;
            self.plan_made().await?;
        }
        if self.state.whole.stage == Stage::Made {
            self.copy_tables().await?;
            self.finish().await?;
        }
        let verified = self.verify().await?;
        let mut batch = BatchWriter::default();
        State::push_end(&mut batch);
        self.copy.target.apply(batch, Vec::new()).await?;
        Ok(verified)
    }

    /// Returns the tables of the source that are to be copied.
    fn wanted(&self) -> impl Iterator<Item = &Table> {
        self.source.values().filter(|table| !NOT_COPIED.contains(&table.name.as_str()))
    }

    /// Returns why a table cannot be copied row by row into the target's table of the same name.
    fn problem(&self, table: &Table) -> Option<String> {
        let problem = match self.target.get(&table.name) {
            _ if table.is_special => "it is no plain table",
            None => "no migration makes it in the target",
            Some(other) if !other.has_columns_of(table) => "it has other columns in the target",
            Some(_) if table.key_sql(self.copy.source.engine()).is_empty() => {
                "it has no primary key to go by"
            }
            Some(_) => return None,
        };
        Some(problem.to_owned())
    }

    /// Stores which tables are copied row by row: those that the migrations created equally on both sides.
    async fn plan_rows(&mut self) -> Result<(), CopyError> {
        let mut planned = BTreeMap::new();
        for table in self.wanted().filter(|table| self.problem(table).is_none()) {
            let seeded = schema::is_filled(&self.copy.target, table).await?;
            planned.insert(table.name.clone(), Progress { seeded, ..Progress::default() });
        }
        let mut batch = BatchWriter::default();
        State::push_tables(&mut batch, &planned);
        self.go_on(batch, Vec::new(), Whole { stage: Stage::Rows, ..self.state.whole.clone() }).await?;
        self.state.tables = planned;
        Ok(())
    }

    /// Calls the extensions for the remaining tables, creates these, and stores that they are to be copied.
    async fn plan_made(&mut self) -> Result<(), CopyError> {
        let left = self.wanted().filter(|table| !self.state.tables.contains_key(&table.name));
        let left: BTreeMap<String, String> =
            left.map(|table| (table.name.clone(), self.problem(table).unwrap_or_default())).collect();
        let plans = extensions::ask(&self.copy.asked, &self.packages, &left).await?;
        let derived = plans.values().flat_map(|plan| plan.derived.clone()).collect();
        let made = extensions::make(&plans);
        let mut planned = extensions::progress(plans);
        // A table that an extension created in the target on its own has no counterpart in the source.
        planned.retain(|name, _| self.source.contains_key(name));
        let mut batch = BatchWriter::default();
        State::push_tables(&mut batch, &planned);
        self.go_on(batch, made, Whole { stage: Stage::Made, derived, ..self.state.whole.clone() }).await?;
        self.state.tables.append(&mut planned);
        self.target = tables::list(&self.copy.target).await?;
        for name in self.state.tables.keys() {
            let table = &self.source[name];
            if let Some(problem) = self.problem(table) {
                return Err(CopyError::Table { table: name.clone(), problem });
            }
        }
        Ok(())
    }

    async fn go_on(
        &mut self,
        mut batch: BatchWriter,
        attached: Vec<ScopedBatch>,
        next: Whole,
    ) -> Result<(), CopyError> {
        let at = batch.len();
        self.state.push_whole(&mut batch, &next);
        let applied = self.copy.target.apply(batch, attached).await;
        applied.map_err(|error| state::explain("tb_copy", error, at))?;
        self.state.whole = next;
        Ok(())
    }

    async fn count_rows(&mut self) -> Result<(), CopyError> {
        let mut total = 0;
        for table in self.wanted().filter(|table| !table.is_special) {
            let sql = format!("SELECT count(*) FROM {}", side::quoted(&table.name));
            total += u64::try_from(self.copy.source.number(&sql).await?).unwrap_or(0);
        }
        self.rows_total = total;
        Ok(())
    }

    /// Copies the rest of all planned tables, each after those that it refers to.
    async fn copy_tables(&mut self) -> Result<(), CopyError> {
        let planned: BTreeSet<&String> = self.state.tables.keys().collect();
        let tables = self.target.values().filter(|table| planned.contains(&table.name));
        let order = tables::in_order(tables).map_err(|circle| CopyError::Table {
            table: circle[0].clone(),
            problem: format!("it and others refer to each other in a circle: {}", circle.join(", ")),
        })?;
        for name in order {
            if !self.state.tables[&name].copied {
                self.copy_table(&name).await?;
            }
        }
        Ok(())
    }

    async fn copy_table(&mut self, name: &str) -> Result<(), CopyError> {
        let (source, target) = (&self.source[name], &self.target[name]);
        let columns = &source.columns;
        let progress = self.state.tables[name].clone();
        let seeded = progress.seeded;
        let last_key = write::last_key(&progress)?;
        let mut pages = Pages::new(&self.copy.source, source, columns, last_key)?;
        let mut writer = Writer::new(&self.copy.target, target, columns, progress);
        if seeded {
            writer.replace(&all(&mut pages).await?).await?;
        } else {
            let mut page = pages.next().await?;
            while !writer.progress().copied {
                let rows = page.len() as u64;
                // The next page is read while this one is written.
                let (written, next) = if page.is_empty() {
                    (writer.append(&page).await, None)
                } else {
                    let (written, next) = tokio::join!(writer.append(&page), pages.next());
                    (written, Some(next?))
                };
                written?;
                self.rows_done += rows;
                self.copy.console.progress(self.rows_done, self.rows_total, "rows copied");
                page = next.unwrap_or(page);
            }
        }
        self.state.tables.insert(name.to_owned(), writer.progress().clone());
        Ok(())
    }

    /// Completes the tables that extensions created, and advances the target's sequences past the source's.
    async fn finish(&mut self) -> Result<(), CopyError> {
        let names: Vec<String> = self.state.tables.keys().cloned().collect();
        for name in names {
            let progress = self.state.tables[&name].clone();
            let Some(extension) = progress.extension.clone().filter(|_| !progress.finished) else { continue };
            let mut batch = BatchWriter::default();
            let next = Progress { finished: true, ..progress.clone() };
            state::push_progress(&mut batch, &name, &progress, &next);
            let attached = extensions::attached(&extension, &progress.finish).into_iter().collect();
            let applied = self.copy.target.apply(batch, attached).await;
            applied.map_err(|error| unfinished(&name, error))?;
            self.state.tables.insert(name, next);
        }
        let given = sequences::given(&self.copy.source).await?;
        let mut batch = BatchWriter::default();
        sequences::push_continued(&mut batch, &self.copy.target, &given).await?;
        self.go_on(batch, Vec::new(), Whole { stage: Stage::Verify, ..self.state.whole.clone() }).await
    }

    async fn verify(&self) -> Result<Vec<Verified>, CopyError> {
        let (mut verified, mut differing, mut rows) = (Vec::new(), Vec::new(), 0);
        let derived = &self.state.whole.derived;
        for name in self.state.tables.keys().filter(|name| !derived.contains(name)) {
            let source = (&self.copy.source, &self.source[name]);
            let target = (&self.copy.target, &self.target[name]);
            let compared = verify::compare(source, target).await?;
            rows += compared.source.rows;
            self.copy.console.progress(rows, self.rows_total, "rows compared");
            match compared.verified(name) {
                Some(table) => verified.push(table),
                None => differing.push(format!(
                    "{name} ({} rows in the source, {} in the target)",
                    compared.source.rows, compared.target.rows
                )),
            }
        }
        if differing.is_empty() { Ok(verified) } else { Err(CopyError::Differs(differing)) }
    }
}

/// Returns why a table's final statements failed.
fn unfinished(table: &str, error: DbError) -> CopyError {
    match error {
        DbError::Condition { .. } => state::explain(table, error, 0),
        DbError::Unique { .. } | DbError::ForeignKey | DbError::Constraint(_) | DbError::Sql(_) => {
            let problem =
                format!("its rows are there, but its indexes and constraints cannot be made: {error}");
            CopyError::Table { table: table.to_owned(), problem }
        }
        other => other.into(),
    }
}

/// Returns all pages of a table with few rows.
async fn all(pages: &mut Pages) -> Result<Vec<Page>, CopyError> {
    let mut all = Vec::new();
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            return Ok(all);
        }
        all.push(page);
    }
}

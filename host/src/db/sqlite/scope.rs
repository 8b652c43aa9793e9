//! Decides what a statement may touch: SQLite's authorizer calls it while it prepares a statement, for every table,
//! column and pragma. It never reads the statement's text.

use std::sync::Arc;

use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use tinybase_package::boundary::host_prefix;

use crate::db::{DbError, SqlOwner};

/// The only column outside of its own tables that an extension may read: foreign keys refer to it, and SQLite checks
/// them in the name of the statement.
const REFERABLE: (&str, &str) = ("tb_users", "id");

/// Pragmas that describe one of an extension's own tables or indexes.
const PRAGMAS_OF_A_TABLE: [&str; 8] = [
    "table_info",
    "table_xinfo",
    "index_list",
    "index_info",
    "index_xinfo",
    "foreign_key_list",
    "foreign_key_check",
    // SQLite runs it itself when `ALTER TABLE` adds a column with a constraint.
    "quick_check",
];

/// The owner that runs a statement.
#[derive(Debug, Clone)]
pub(super) enum Who {
    /// The engine: its own transactions and savepoints.
    Engine,
    /// The host.
    Host,
    /// An extension, with the prefix of its tables.
    Extension(Arc<str>),
}

/// The state of the authorizer of one connection.
#[derive(Debug)]
pub(super) struct Gate {
    who: Who,
    /// The statement changes the schema, so that SQLite updates its own tables.
    schema_changes: bool,
    /// The statement renames or alters a table; its new name is known only afterwards.
    pub(super) alters: bool,
    /// What an extension's statement creates or alters. Its text is checked afterwards: SQLite does not call the
    /// authorizer for it.
    made: Vec<Made>,
    /// SQLite has called the authorizer for the statement, which it does while preparing it, but not for a cached one.
    pub(super) is_asked: bool,
    denied: Option<Denial>,
}

/// An object created by a statement, whose text decides what it may touch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Made {
    /// A table, which may refer to others.
    Table(String),
    /// A virtual table, which may keep its content in another.
    Virtual(String),
    /// A view.
    View(String),
    /// A trigger, on this table or view.
    Trigger(String),
}

/// What was refused, and within which trigger or view, if any.
#[derive(Debug)]
struct Denial {
    within: Option<String>,
    table: String,
}

impl Gate {
    pub(super) fn new() -> Gate {
        Gate {
            who: Who::Engine,
            schema_changes: false,
            alters: false,
            made: Vec::new(),
            is_asked: false,
            denied: None,
        }
    }

    /// Prepares the authorizer for the next statement.
    pub(super) fn enter(&mut self, scope: &SqlOwner) {
        self.schema_changes = false;
        self.alters = false;
        self.made.clear();
        self.is_asked = false;
        self.denied = None;
        match (&self.who, scope) {
            (Who::Host, SqlOwner::Host) => {}
            (Who::Extension(now), SqlOwner::Extension(name)) if Arc::ptr_eq(now, name) => {}
            (_, SqlOwner::Host) => self.who = Who::Host,
            (_, SqlOwner::Extension(name)) => self.who = Who::Extension(Arc::clone(name)),
        }
    }

    /// Prepares the authorizer for the engine's own statements.
    pub(super) fn enter_engine(&mut self) {
        self.who = Who::Engine;
        self.denied = None;
    }

    /// Takes the error of the denial since the last `enter`, if there was one.
    pub(super) fn take_denied(&mut self) -> Option<DbError> {
        let Denial { within, table } = self.denied.take()?;
        let scope = match (&self.who, within) {
            (_, Some(name)) => format!("{name}, a trigger or view of an extension,"),
            (Who::Engine | Who::Host, None) => "the host".to_owned(),
            (Who::Extension(name), None) => name.to_string(),
        };
        Some(DbError::Denied { scope, table })
    }

    /// Takes what the statement since the last `enter` creates.
    pub(super) fn take_made(&mut self) -> Vec<Made> {
        std::mem::take(&mut self.made)
    }

    /// Decides on one action of the statement that SQLite prepares.
    pub(super) fn authorize(&mut self, context: &AuthContext<'_>) -> Authorization {
        self.is_asked = true;
        let refused = match &self.who {
            Who::Engine | Who::Host => match context.accessor.filter(|name| host_prefix(name).is_none()) {
                // The host's statement fires an extension's trigger, or reads an extension's view.
                Some(within) => refused_within(within, &context.action),
                None if matches!(self.who, Who::Engine) => None,
                None => refused_to_all(&context.action),
            },
            Who::Extension(name) => {
                let name = Arc::clone(name);
                refused_to_all(&context.action).or_else(|| self.refused_to_extension(&name, &context.action))
            }
        };
        match refused {
            None => Authorization::Allow,
            Some(table) => {
                let within = context.accessor.filter(|_| !matches!(self.who, Who::Extension(_)));
                self.denied.get_or_insert(Denial { within: within.map(str::to_owned), table });
                Authorization::Deny
            }
        }
    }

    fn refused_to_extension(&mut self, name: &str, action: &AuthAction<'_>) -> Option<String> {
        use AuthAction as A;
        let own = |table: &str| is_own(name, table);
        let unless = |allowed: bool, what: &str| (!allowed).then(|| what.to_owned());
        match *action {
            A::Select | A::Recursive => None,
            A::Function { function_name } => unless(!is_unsafe_function(function_name), function_name),
            A::Read { table_name, column_name } => {
                unless(self.may_read(name, table_name, column_name), table_name)
            }
            A::Insert { table_name } | A::Update { table_name, .. } | A::Delete { table_name } => {
                unless(own(table_name) || self.is_tended(table_name), table_name)
            }
            A::CreateTable { table_name } => {
                self.makes(Made::Table(table_name.to_owned()));
                unless(own(table_name) || table_name == "sqlite_sequence", table_name)
            }
            A::DropTable { table_name } => {
                self.schema_changes = true;
                unless(own(table_name), table_name)
            }
            A::CreateVtable { table_name, module_name } | A::DropVtable { table_name, module_name } => {
                self.makes(Made::Virtual(table_name.to_owned()));
                unless(own(table_name) && module_name.eq_ignore_ascii_case("fts5"), table_name)
            }
            A::AlterTable { table_name, .. } => {
                self.makes(Made::Table(table_name.to_owned()));
                self.alters = true;
                unless(own(table_name), table_name)
            }
            A::CreateIndex { index_name, table_name } | A::DropIndex { index_name, table_name } => {
                self.schema_changes = true;
                unless(own(table_name) && (own(index_name) || is_automatic(index_name)), table_name)
            }
            A::CreateTrigger { trigger_name, table_name } => {
                self.makes(Made::Trigger(table_name.to_owned()));
                unless(own(table_name) && own(trigger_name), table_name)
            }
            A::DropTrigger { trigger_name, table_name } => {
                self.schema_changes = true;
                unless(own(table_name) && own(trigger_name), table_name)
            }
            A::CreateView { view_name } => {
                self.makes(Made::View(view_name.to_owned()));
                unless(own(view_name), view_name)
            }
            A::DropView { view_name } => {
                self.schema_changes = true;
                unless(own(view_name), view_name)
            }
            A::Reindex { index_name } => unless(own(index_name), index_name),
            A::Pragma { pragma_name, pragma_value } => {
                unless(may_pragma(name, pragma_name, pragma_value), &format!("pragma {pragma_name}"))
            }
            _ => Some(format!("{action:?}")),
        }
    }

    fn makes(&mut self, made: Made) {
        self.schema_changes = true;
        self.made.push(made);
    }

    fn may_read(&self, name: &str, table: &str, column: &str) -> bool {
        is_own(name, table)
            || is_schema(table)
            // When the schema changes, SQLite looks up its own rows about the changed objects.
            || (self.is_tended(table) && matches!(column, "name" | "tbl" | "idx"))
            || is_readable_to_all(table, column)
            || table.strip_prefix("pragma_").is_some_and(|pragma| PRAGMAS_OF_A_TABLE.contains(&pragma))
    }

    /// Whether the table is one of SQLite's own, which it updates when the schema changes. SQLite lets nobody write to
    /// `sqlite_master`.
    fn is_tended(&self, table: &str) -> bool {
        is_schema(table)
            || (self.schema_changes && (table == "sqlite_sequence" || table.starts_with("sqlite_stat")))
    }
}

fn is_schema(table: &str) -> bool {
    matches!(table, "sqlite_master" | "sqlite_schema" | "sqlite_temp_master" | "sqlite_temp_schema")
}

/// Whether every extension may read it: table-valued functions over values, and the ids of users.
fn is_readable_to_all(table: &str, column: &str) -> bool {
    matches!(table, "json_each" | "json_tree")
        || (table.eq_ignore_ascii_case(REFERABLE.0) && column.eq_ignore_ascii_case(REFERABLE.1))
}

/// Refuses what a trigger or view of an extension may not do when a statement of the host fires or reads it. It only
/// has the rights of its own extension. Its name and those of its extension's tables have the same prefix.
fn refused_within(within: &str, action: &AuthAction<'_>) -> Option<String> {
    use AuthAction as A;
    let unless = |allowed: bool, what: &str| (!allowed).then(|| what.to_owned());
    let own = |table: &str| begin_alike(within, table);
    match *action {
        A::Select | A::Recursive => None,
        A::Function { function_name } => unless(!is_unsafe_function(function_name), function_name),
        A::Read { table_name, column_name } => {
            unless(own(table_name) || is_readable_to_all(table_name, column_name), table_name)
        }
        A::Insert { table_name } | A::Update { table_name, .. } | A::Delete { table_name } => {
            unless(own(table_name), table_name)
        }
        _ => Some(format!("{action:?}")),
    }
}

/// Whether two names may belong to the same extension: they are equal up to the first `_`, and are not the host's.
fn begin_alike(one: &str, other: &str) -> bool {
    let start = |name: &str| name.split_once('_').map(|(start, _)| start.to_ascii_lowercase());
    host_prefix(other).is_none() && start(one).is_some() && start(one) == start(other)
}

/// Refuses what nobody may do: only the engine uses transactions, and there is only one file.
fn refused_to_all(action: &AuthAction<'_>) -> Option<String> {
    match action {
        AuthAction::Transaction { .. } | AuthAction::Savepoint { .. } => {
            Some("of its own transactions".to_owned())
        }
        AuthAction::Attach { filename } => Some((*filename).to_owned()),
        AuthAction::Detach { database_name } => Some((*database_name).to_owned()),
        AuthAction::Function { function_name } if is_unsafe_function(function_name) => {
            Some((*function_name).to_owned())
        }
        _ => None,
    }
}

fn is_unsafe_function(name: &str) -> bool {
    name.eq_ignore_ascii_case("load_extension") || name.eq_ignore_ascii_case("fts3_tokenizer")
}

/// Whether `table` begins with the extension's name and `_`; SQLite compares names without regard to ASCII case.
pub(super) fn is_own(name: &str, table: &str) -> bool {
    let (table, name) = (table.as_bytes(), name.as_bytes());
    table.len() > name.len() + 1
        && table[..name.len()].eq_ignore_ascii_case(name)
        && table[name.len()] == b'_'
}

/// Whether it is an index that SQLite created for a constraint; its table is checked as well.
fn is_automatic(index: &str) -> bool {
    index.starts_with("sqlite_autoindex_")
}

fn may_pragma(name: &str, pragma: &str, value: Option<&str>) -> bool {
    // The first affects the transaction alone; full-text tables use the second.
    if pragma.eq_ignore_ascii_case("defer_foreign_keys") || (pragma == "data_version" && value.is_none()) {
        return true;
    }
    let of_own =
        value.is_some_and(|value| is_own(name, value.strip_prefix("sqlite_autoindex_").unwrap_or(value)));
    of_own && PRAGMAS_OF_A_TABLE.iter().any(|known| known.eq_ignore_ascii_case(pragma))
}

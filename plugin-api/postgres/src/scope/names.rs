//! The names an extension may use for tables, catalogs and functions. It contains only data and comparisons.

use sqlparser::ast::{Ident, ObjectName};

use super::functions;
use crate::StatementError;

/// The only table of the host that an extension may reference, by its id.
pub(super) const USERS: &str = "tb_users";

/// The columns of users other than the id, including those of older versions.
const COLUMNS_OF_USERS: [&str; 9] = [
    "email",
    "password_hash",
    "role",
    "token_epoch",
    "is_active",
    "is_admin",
    "last_login_at",
    "ctid",
    "xmin",
];

/// Catalogs with metadata of tables, but none of their content.
const CATALOGS: [&str; 10] = [
    "pg_attrdef",
    "pg_attribute",
    "pg_class",
    "pg_constraint",
    "pg_index",
    "pg_indexes",
    "pg_namespace",
    "pg_proc",
    "pg_trigger",
    "pg_type",
];

/// The host's function that an extension's triggers may call.
pub(super) const NOTE_CHANGE: &str = "tb_note_change";

/// An extension whose statements are checked.
pub(super) struct Owner {
    name: String,
    prefix: String,
}

impl Owner {
    pub(super) fn new(name: &str) -> Result<Owner, StatementError> {
        let is_name = !name.is_empty()
            && !is_reserved(name)
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        let owner = Owner { name: name.to_owned(), prefix: format!("{}_", name.to_ascii_lowercase()) };
        if is_name { Ok(owner) } else { Err(owner.denied("any table: its name is no name, or the host's")) }
    }

    pub(super) fn denied(&self, what: &str) -> StatementError {
        StatementError::Denied { extension: self.name.clone(), table: what.to_owned() }
    }

    /// Returns whether a name, folded as the server folds it, begins with the extension's name and `_`.
    pub(super) fn owns(&self, name: &str) -> bool {
        name.len() > self.prefix.len() && name.starts_with(&self.prefix)
    }

    /// Checks the name of a function that is called: it must be the extension's own, or one of the server's that is
    /// known to be harmless. A function of the server never counts as the extension's own, whatever the extension is
    /// called.
    pub(super) fn check_function(&self, name: &str) -> Result<(), StatementError> {
        let is_own = self.owns(name) && !functions::is_of_the_server(name);
        if is_own || functions::is_allowed(name) {
            Ok(())
        } else {
            Err(self.denied(&format!("the function {name}")))
        }
    }
}

/// Prefixes of the host's tables and of the server's own, without the trailing `_`. The packages of extensions reject
/// them too (`boundary.rs` there), which this crate does not depend on.
const HOST_PREFIXES: [&str; 4] = ["tb", "sqlite", "pg", "information_schema"];

/// Returns whether an extension of this name would share tables with the host or the server.
pub(super) fn is_reserved(name: &str) -> bool {
    let name = format!("{}_", name.to_ascii_lowercase());
    HOST_PREFIXES.iter().any(|prefix| {
        let prefix = format!("{prefix}_");
        name.starts_with(&prefix) || prefix.starts_with(&name)
    })
}

/// Returns whether a name belongs to the host or the server, whatever it names.
pub(super) fn is_of_the_host(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    HOST_PREFIXES
        .iter()
        .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

/// Returns a name as the server folds it: in lower case unless it is quoted.
pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

/// Returns the only part of a name without a schema.
pub(super) fn simple(name: &ObjectName) -> Option<String> {
    let [part] = name.0.as_slice() else { return None };
    part.as_ident().map(folded)
}

/// Returns whether a name belongs to a catalog with metadata of tables.
pub(super) fn is_catalog(name: &ObjectName) -> bool {
    match name.0.as_slice() {
        [_] => simple(name).is_some_and(|name| CATALOGS.contains(&name.as_str())),
        [schema, table] => {
            let part =
                |part: &sqlparser::ast::ObjectNamePart| part.as_ident().map(folded).unwrap_or_default();
            match part(schema).as_str() {
                "information_schema" => true,
                "pg_catalog" => CATALOGS.contains(&part(table).as_str()),
                _ => false,
            }
        }
        _ => false,
    }
}

/// Returns whether a column of the users' table is not their id.
pub(super) fn tells_of_users(column: &str) -> bool {
    COLUMNS_OF_USERS.contains(&column)
}

//! Which names an extension may use: for tables, for catalogs, for functions. Data and comparisons alone.

use sqlparser::ast::{Ident, ObjectName};

use super::functions;
use crate::StatementError;

/// The one table of the host that an extension may refer to, by its id.
pub(super) const USERS: &str = "tb_users";

/// What is known of users beside their id, and what their table has had in older versions.
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

/// Catalogs that tell about tables and hold none of their content.
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

/// An extension whose statements are looked at.
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

    /// Whether a name, folded as the server folds it, begins with the extension's own and `_`.
    pub(super) fn owns(&self, name: &str) -> bool {
        name.len() > self.prefix.len() && name.starts_with(&self.prefix)
    }

    /// Checks the name of a function that is called: the server's own that are known to be harmless, and the extension's
    /// own. No name of an extension makes a function of the server's its own.
    pub(super) fn check_function(&self, name: &str) -> Result<(), StatementError> {
        let is_own = self.owns(name) && !functions::is_of_the_server(name);
        if is_own || functions::is_allowed(name) {
            Ok(())
        } else {
            Err(self.denied(&format!("the function {name}")))
        }
    }
}

/// Prefixes of the host's tables and of the server's own, without the `_` after them: those that the packages of extensions
/// keep out as well (`boundary.rs` there), which this crate does not depend on.
const HOST_PREFIXES: [&str; 4] = ["tb", "sqlite", "pg", "information_schema"];

/// Whether an extension of this name would share tables with the host or the server.
pub(super) fn is_reserved(name: &str) -> bool {
    let name = format!("{}_", name.to_ascii_lowercase());
    HOST_PREFIXES.iter().any(|prefix| {
        let prefix = format!("{prefix}_");
        name.starts_with(&prefix) || prefix.starts_with(&name)
    })
}

/// Whether a name is one of the host's or of the server's, whatever it names.
pub(super) fn is_of_the_host(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    HOST_PREFIXES
        .iter()
        .any(|prefix| name.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('_')))
}

/// A name as the server folds it: in lower case unless it is quoted.
pub(super) fn folded(ident: &Ident) -> String {
    if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_ascii_lowercase() }
}

/// The one part of a name without a schema.
pub(super) fn simple(name: &ObjectName) -> Option<String> {
    let [part] = name.0.as_slice() else { return None };
    part.as_ident().map(folded)
}

/// Whether a name is one of a catalog that tells about tables.
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

/// Whether a column of the users' is another than their id.
pub(super) fn tells_of_users(column: &str) -> bool {
    COLUMNS_OF_USERS.contains(&column)
}

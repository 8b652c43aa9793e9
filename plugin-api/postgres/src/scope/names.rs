//! Which names an extension may use: for tables, for catalogs, for functions. Data and comparisons alone.

use sqlparser::ast::{Ident, ObjectName};

use crate::StatementError;

/// The one table of the host that an extension may refer to, by its id.
pub(super) const USERS: &str = "tb_users";

/// What is known of users beside their id.
const COLUMNS_OF_USERS: [&str; 7] =
    ["email", "password_hash", "role", "token_epoch", "is_active", "is_admin", "last_login_at"];

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

/// Functions of the server's own administration that tell about tables alone.
const FUNCTIONS: [&str; 12] = [
    "pg_backend_pid",
    "pg_get_constraintdef",
    "pg_get_expr",
    "pg_get_functiondef",
    "pg_get_indexdef",
    "pg_get_triggerdef",
    "pg_indexes_size",
    "pg_relation_size",
    "pg_table_is_visible",
    "pg_table_size",
    "pg_total_relation_size",
    "pg_typeof",
];

/// Functions that run text as SQL, read files, or change the session, by how their names begin.
const REFUSED: [&str; 12] = [
    "pg_",
    "lo_",
    "dblink",
    "query_to_",
    "table_to_",
    "cursor_to_",
    "schema_to_",
    "database_to_",
    "set_config",
    "current_setting",
    "ts_stat",
    "tb_",
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
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
        let owner = Owner { name: name.to_owned(), prefix: format!("{}_", name.to_ascii_lowercase()) };
        if is_name { Ok(owner) } else { Err(owner.denied("any table: its name is no name")) }
    }

    pub(super) fn denied(&self, what: &str) -> StatementError {
        StatementError::Denied { extension: self.name.clone(), table: what.to_owned() }
    }

    /// Whether a name, folded as the server folds it, begins with the extension's own and `_`.
    pub(super) fn owns(&self, name: &str) -> bool {
        name.len() > self.prefix.len() && name.starts_with(&self.prefix)
    }

    /// Checks the name of a function that is called.
    pub(super) fn check_function(&self, name: &str) -> Result<(), StatementError> {
        let refused = REFUSED.iter().any(|start| name.starts_with(start));
        if self.owns(name) || !refused || FUNCTIONS.contains(&name) { Ok(()) } else { Err(self.denied(name)) }
    }
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

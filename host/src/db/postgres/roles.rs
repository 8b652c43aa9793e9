//! The roles under which extensions' statements run, if the server lets the host create them. Each owns its extension's
//! tables and has no rights on others' tables, except to the ids of users. Without roles, only the text of statements
//! is checked. A connection keeps its role until another scope uses it.

use std::{collections::HashSet, sync::Arc};

use parking_lot::RwLock;
use sqlx::{AssertSqlSafe, Row};

use super::{errors::Fault, pool::Link};
use crate::db::{DbError, SqlOwner};

/// Locked while a role is created or dropped, so that nodes that start together do not conflict.
const LOCK: &str = "SELECT pg_advisory_xact_lock(7453010331047503);";

/// Returns whether this user can create roles on this server version, and the prefix of their names. A role belongs to
/// all databases of a server, so the database is part of its name.
const ASK: &str = "SELECT rolsuper OR (rolcreaterole AND has_schema_privilege(current_schema(), 'CREATE WITH GRANT OPTION')), \
     'tb_' || substr(md5(current_database()), 1, 12) || '_' FROM pg_roles WHERE rolname = current_user";

/// Creates or updates the role of an extension, and makes it the owner of the extension's objects. `$prefix$` and
/// `$name$` are replaced.
const MAKE: &str = include_str!("make_role.sql");

/// Drops a role with everything it owns.
const DROP: &str = include_str!("drop_role.sql");

/// The roles of this database as far as this process knows them.
#[derive(Debug)]
pub(super) struct Roles {
    /// The prefix of their names; `None` if they cannot be created.
    prefix: Option<String>,
    /// Extensions whose roles are up to date.
    made: RwLock<HashSet<Arc<str>>>,
}

impl Roles {
    /// Checks whether the server lets the host create roles, unless they are not wanted.
    pub(super) async fn open(link: &mut Link, wanted: bool) -> Result<Roles, sqlx::Error> {
        let row = sqlx::query(ASK).persistent(false).fetch_one(&mut link.connection).await?;
        let (can_make, prefix): (bool, String) = (row.try_get(0)?, row.try_get(1)?);
        Ok(Roles { prefix: Some(prefix).filter(|_| can_make && wanted), made: RwLock::default() })
    }

    /// Whether extensions' statements run under their own roles.
    pub(super) fn are_made(&self) -> bool {
        self.prefix.is_some()
    }

    /// Sets the role of a connection for the next statement in the name of `scope`. It calls the server only if the
    /// connection has another role.
    pub(super) async fn assume(&self, link: &mut Link, scope: &SqlOwner) -> Result<(), Fault> {
        let Some(prefix) = &self.prefix else { return Ok(()) };
        match (scope, &link.role) {
            (SqlOwner::Host, None) => return Ok(()),
            (SqlOwner::Extension(name), Some(role)) if name == role => return Ok(()),
            _ => {}
        }
        let SqlOwner::Extension(name) = scope else {
            link.engine("RESET ROLE").await?;
            link.role = None;
            return Ok(());
        };
        check_name(name)?;
        if !self.made.read().contains(name) {
            self.make(link, prefix, name).await?;
        }
        let sql = format!("SET ROLE \"{prefix}{name}\"");
        if let Err(error) = run(link, &sql).await {
            // Another node may have dropped it with its extension.
            self.made.write().remove(name);
            return Err(error.into());
        }
        link.role = Some(Arc::clone(name));
        Ok(())
    }

    async fn make(&self, link: &mut Link, prefix: &str, name: &Arc<str>) -> Result<(), Fault> {
        if link.role.is_some() {
            link.engine("RESET ROLE").await?;
            link.role = None;
        }
        alone(link, &filled(MAKE, prefix, name)).await?;
        if !link.is_open {
            // Within a transaction it exists only once that is committed.
            self.made.write().insert(Arc::clone(name));
        }
        Ok(())
    }

    /// Drops the role of an extension, with what is left of its tables and functions.
    pub(super) async fn drop(&self, link: &mut Link, name: &str) -> Result<(), Fault> {
        let Some(prefix) = &self.prefix else { return Ok(()) };
        check_name(name)?;
        self.assume(link, &SqlOwner::Host).await?;
        self.made.write().remove(name);
        Ok(alone(link, &filled(DROP, prefix, name)).await?)
    }
}

fn filled(script: &str, prefix: &str, name: &str) -> String {
    script.replace("$prefix$", prefix).replace("$name$", name)
}

/// Checks a name that is put into SQL: it must be plain and in lower case.
fn check_name(name: &str) -> Result<(), DbError> {
    if tinybase_package::boundary::is_name(name) && tinybase_package::boundary::host_prefix(name).is_none() {
        return Ok(());
    }
    Err(DbError::Denied {
        scope: name.to_owned(),
        table: "any table: its name is no name, or the host's".to_owned(),
    })
}

/// Runs a script that changes roles, on one node at a time: in the open transaction, or in its own, also on a read-only
/// connection.
async fn alone(link: &mut Link, script: &str) -> Result<(), sqlx::Error> {
    if link.is_open {
        return run(link, &format!("{LOCK}{script}")).await;
    }
    let ran = run(link, &format!("BEGIN READ WRITE;{LOCK}{script};COMMIT")).await;
    if ran.is_err() && !link.is_broken {
        link.engine("ROLLBACK").await?;
    }
    ran
}

async fn run(link: &mut Link, sql: &str) -> Result<(), sqlx::Error> {
    link.is_busy = true;
    match sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut link.connection).await {
        Ok(_) => {
            link.is_busy = false;
            Ok(())
        }
        Err(error) => {
            link.settle(&error);
            Err(error)
        }
    }
}

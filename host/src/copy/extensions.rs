//! Copies tables that extensions create at run time. The extension returns the statements that create each table bare,
//! and those that complete it after it was filled. They run in the extension's name; it never writes itself.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::json;
use tinybase_abi::codec::{BatchWriter, Expect};

use super::{CopyError, state::Progress};
use crate::{
    db::{ScopedBatch, SqlOwner},
    plugins::{Plugins, package::Package},
};

/// The topic of the call to an extension.
pub const TOPIC: &str = "copy.tables";

/// An extension's plan for its tables.
#[derive(Debug, Clone, Default, Deserialize)]
pub struct Plan {
    /// The tables that it creates.
    #[serde(default)]
    pub tables: Vec<Made>,
    /// Tables that it derives from others once these are complete, and that are not copied.
    #[serde(default)]
    pub derived: Vec<String>,
}

/// How one table is created.
#[derive(Debug, Clone, Deserialize)]
pub struct Made {
    /// The name of the table.
    pub name: String,
    /// The statements that create it bare: with its columns and key, without indexes, references and triggers.
    pub make: Vec<String>,
    /// The statements that add these once all rows are copied, and update what is derived from it.
    #[serde(default)]
    pub finish: Vec<String>,
}

/// Returns the name of the extension that a table belongs to.
pub fn owner<'p>(packages: &'p [Package], table: &str) -> Option<&'p str> {
    let names = packages.iter().map(|package| package.manifest.name.as_str());
    names.into_iter().find(|name| table.strip_prefix(name).is_some_and(|rest| rest.starts_with('_')))
}

/// Calls each extension that owns some of these tables. Returns the plans by extension.
///
/// # Errors
/// [`CopyError::Table`] for a table that belongs to no extension, or that its extension's plan does not contain.
pub async fn ask(
    plugins: &Plugins,
    packages: &[Package],
    wanted: &BTreeMap<String, String>,
) -> Result<BTreeMap<String, Plan>, CopyError> {
    let mut by_owner: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for (table, problem) in wanted {
        let Some(owner) = owner(packages, table) else {
            return Err(CopyError::Table { table: table.clone(), problem: problem.clone() });
        };
        by_owner.entry(owner).or_default().push(table);
    }
    let mut plans = BTreeMap::new();
    for (name, tables) in by_owner {
        let fault = |problem: String| CopyError::Extension { name: name.to_owned(), problem };
        let answer = plugins.ask_alone(name, TOPIC, &json!({"tables": tables, "derived": []})).await?;
        let plan = match answer {
            None => Plan::default(),
            Some(answer) => serde_json::from_value(answer).map_err(|error| fault(error.to_string()))?,
        };
        let told: BTreeSet<&str> = plan.tables.iter().map(|made| made.name.as_str()).collect();
        let missing =
            |table: &&&str| !told.contains(**table) && !plan.derived.iter().any(|name| name == **table);
        if let Some(table) = tables.iter().find(missing) {
            let problem = format!("{}, and the extension {name} does not say how it is made", wanted[*table]);
            return Err(CopyError::Table { table: (*table).to_owned(), problem });
        }
        plans.insert(name.to_owned(), plan);
    }
    Ok(plans)
}

/// Returns the statements that create the tables, to be applied in the extensions' names.
pub fn make(plans: &BTreeMap<String, Plan>) -> Vec<ScopedBatch> {
    let statements = |plan: &Plan| plan.tables.iter().flat_map(|made| made.make.clone()).collect::<Vec<_>>();
    plans.iter().filter_map(|(name, plan)| attached(name, &statements(plan))).collect()
}

/// Packs statements to be run in an extension's name; `None` if there are none.
pub fn attached(name: &str, statements: &[String]) -> Option<ScopedBatch> {
    let mut batch = BatchWriter::default();
    statements.iter().for_each(|sql| batch.push(sql, [], Expect::Any));
    (!batch.is_empty()).then(|| (SqlOwner::Extension(name.into()), batch.finish()))
}

/// Returns the initial progress of the tables, which is stored when they are created.
pub fn progress(plans: BTreeMap<String, Plan>) -> BTreeMap<String, Progress> {
    let mut progress = BTreeMap::new();
    for (extension, plan) in plans {
        for made in plan.tables {
            let extension = Some(extension.clone());
            progress.insert(made.name, Progress { extension, finish: made.finish, ..Progress::default() });
        }
    }
    progress
}

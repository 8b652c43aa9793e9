//! One collection as it is now: its schema, its rules, and the statements on its table, built once per revision.

use tinybase_plugin_api::log;

use super::Options;
use crate::{
    access::{Action, Caller, Verdict},
    dialect::Dialect,
    fault::Faults,
    json::{Json, write_text},
    query::Table,
    schema::Schema,
    storage,
};

/// A row of `collections_meta`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// The number in the table's name.
    pub number: i64,
    /// The collection's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its label.
    pub label: String,
    /// Its schema, as JSON.
    pub schema: String,
    /// Its options, as JSON.
    pub options: String,
    /// When it was created.
    pub created_at: String,
    /// When it was last changed.
    pub updated_at: String,
    /// The number of changes so far.
    pub revision: i64,
}

/// A collection.
#[derive(Debug)]
pub struct Collection {
    /// The SQL dialect of its table.
    pub dialect: Dialect,
    /// The number in the table's name.
    pub number: i64,
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The number of changes so far.
    pub revision: i64,
    /// The fields of its records.
    pub schema: Schema,
    /// Its options, including its rules.
    pub options: Options,
    /// When it was created.
    pub created_at: String,
    /// The collection as JSON for callers who may see its rules.
    pub answer: String,
    /// The same without its rules.
    pub answer_without_rules: String,
    /// The table's name.
    pub table: String,
    /// The statements that all requests of one kind share.
    pub sql: Sql,
}

/// Statements on a collection's table. Writes only apply while the collection is at this revision.
#[derive(Debug)]
pub struct Sql {
    /// Reads a record by id: `id, owner_id, created_at, updated_at, data, version`.
    pub read: String,
    /// Lists the newest records with their total, up to the page's window.
    pub list: String,
    /// Lists the oldest records with their total, up to the page's window.
    pub list_oldest: String,
    /// Inserts a record: id, owner, time, data.
    pub insert: String,
    /// Insert records that were created elsewhere, by number of records: id, owner, creation time, time of the last
    /// change and data of each.
    insert_whole: [String; 2],
    /// Updates a record's data: data, time, id, version.
    pub update: String,
    /// Updates all of a record except its id: data, owner, creation time, time of the last change, id, version.
    pub update_whole: String,
    /// Sets the data of a new record without marking it as changed: data, id.
    pub set_data: String,
    /// Deletes a record: id, version.
    pub delete: String,
}

impl Collection {
    /// Parses a row. It was validated when it was written: a fault means that it was changed by hand or by a later
    /// version.
    pub fn new(meta: &Meta, dialect: Dialect) -> Result<Collection, String> {
        let broken = |what: &str, why: &dyn std::fmt::Display| {
            format!("the {what} of collection {} does not hold: {why}", meta.name)
        };
        let schema = Json::parse(&meta.schema).map_err(|error| broken("schema", &error))?;
        let schema = Schema::parse(&schema).map_err(|faults| broken("schema", &faults))?;
        let options = Json::parse(&meta.options).map_err(|error| broken("options", &error))?;
        let mut faults = Faults::default();
        let without_rules = without_rules(&options);
        let options = Options::parse(&options, &schema, &mut faults);
        if !faults.list().iter().all(|fault| fault.path.starts_with("options.access.")) {
            return Err(broken("options", &faults));
        }
        if !faults.is_empty() {
            // If the collection were not served, nobody could fix the rule.
            log::error(format!(
                "{}; until it is changed, only admins pass that rule",
                broken("options", &faults)
            ));
        }
        let table = storage::table_name(meta.number);
        Ok(Collection {
            dialect,
            number: meta.number,
            id: meta.id.clone(),
            name: meta.name.clone(),
            revision: meta.revision,
            created_at: meta.created_at.clone(),
            answer: answer(meta, &meta.options),
            answer_without_rules: answer(meta, &without_rules),
            sql: Sql::new(&table, meta, dialect),
            schema,
            options,
            table,
        })
    }

    /// Returns whether a caller may know about it: they may list or read at least some of its records.
    pub fn is_shown_to(&self, caller: &Caller<'_>) -> bool {
        let may = |action| self.options.rules.of(action).verdict(action, caller) != Verdict::Deny;
        may(Action::List) || may(Action::Read)
    }

    /// Returns the table of its records.
    pub fn table(&self) -> Table<'_> {
        Table { dialect: self.dialect, number: self.number, name: &self.table, schema: &self.schema }
    }
}

/// How many records one statement inserts during bulk inserts. A trigger counts the rows. Because of it, SQLite first
/// stores a statement's rows in a temporary table, and copies each page before changing it, once per statement.
pub const INSERTED_MAX: usize = 50;

impl Sql {
    /// Returns the statement that inserts one record created elsewhere, or [`INSERTED_MAX`] of them.
    pub fn insert_whole(&self, records: usize) -> &str {
        let [one, many] = &self.insert_whole;
        if records == 1 { one } else { many }
    }

    fn new(table: &str, meta: &Meta, dialect: Dialect) -> Sql {
        let Meta { number, revision, .. } = meta;
        let current = format!("(SELECT revision FROM collections_meta WHERE number={number})={revision}");
        let list = |order: &str| {
            format!(
                "SELECT ({}),id,owner_id,created_at,updated_at,data,seq FROM {table} ORDER BY {order}",
                dialect.count_of(*number)
            )
        };
        Sql {
            read: format!("SELECT id,owner_id,created_at,updated_at,data,version FROM {table} WHERE id=?1"),
            list: list("seq DESC"),
            list_oldest: list("seq"),
            insert: format!(
                "INSERT INTO {table}(id,owner_id,created_at,updated_at,version,data) SELECT ?1,?2,?3,?3,1,?4 WHERE {current}"
            ),
            update: format!(
                "UPDATE {table} SET data=?1,updated_at=?2,version=version+1 WHERE id=?3 AND version=?4 AND {current}"
            ),
            insert_whole: [1, INSERTED_MAX].map(|records| {
                let row = |at: usize| {
                    let [id, owner, created, updated, data] = [1, 2, 3, 4, 5].map(|column| at * 5 + column);
                    format!("(?{id},?{owner},?{created},?{updated},?{data})")
                };
                let rows: Vec<String> = (0..records).map(row).collect();
                format!(
                    "INSERT INTO {table}(id,owner_id,created_at,updated_at,version,data) \
                     SELECT column1,column2,column3,column4,1,column5 FROM (VALUES {}) AS made WHERE {current}",
                    rows.join(",")
                )
            }),
            update_whole: format!(
                "UPDATE {table} SET data=?1,owner_id=?2,created_at=?3,updated_at=?4,version=version+1 \
                 WHERE id=?5 AND version=?6 AND {current}"
            ),
            set_data: format!("UPDATE {table} SET data=?1 WHERE id=?2 AND version=1 AND {current}"),
            delete: format!("DELETE FROM {table} WHERE id=?1 AND version=?2 AND {current}"),
        }
    }
}

/// Returns the options as text without the rules. The rules are not public.
fn without_rules(options: &Json<'_>) -> String {
    let members = options.as_object().unwrap_or_default().iter();
    Json::Object(members.filter(|(name, _)| name != "access").cloned().collect()).to_text()
}

fn answer(meta: &Meta, options: &str) -> String {
    let mut out = String::with_capacity(256 + meta.schema.len() + options.len());
    for (name, text) in [("{\"id\":", &meta.id), (",\"name\":", &meta.name), (",\"label\":", &meta.label)] {
        out.push_str(name);
        write_text(&mut out, text);
    }
    for (name, json) in [(",\"schema\":", meta.schema.as_str()), (",\"options\":", options)] {
        out.push_str(name);
        out.push_str(json);
    }
    for (name, text) in [(",\"created_at\":", &meta.created_at), (",\"updated_at\":", &meta.updated_at)] {
        out.push_str(name);
        write_text(&mut out, text);
    }
    out.push('}');
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::{Action, Rule};

    #[test]
    fn a_stored_rule_that_does_not_hold_is_closed_and_the_collection_is_served() {
        let text = |text: &str| text.to_owned();
        let mut meta = Meta {
            number: 1,
            id: text("x"),
            name: text("n"),
            label: text("n"),
            schema: text(r#"{"fields":[{"name":"id","type":"integer"}]}"#),
            options: text(r#"{"access":{"list":"id > 5","delete":"auth"}}"#),
            created_at: text("2026-01-01T00:00:00.000000Z"),
            updated_at: text("2026-01-01T00:00:00.000000Z"),
            revision: 1,
        };
        let collection = Collection::new(&meta, Dialect::Sqlite).unwrap();
        assert_eq!(*collection.options.rules.of(Action::List), Rule::Admin);
        assert_eq!(*collection.options.rules.of(Action::Delete), Rule::Auth);
        meta.options = text(r#"{"of_a_later_version":true}"#);
        assert!(Collection::new(&meta, Dialect::Sqlite).is_err());
    }
}

//! Migrates a collection's table and records to another schema, within the caller's transaction.

use std::collections::HashMap;

use serde_json::{Value as JsonValue, json};
use tinybase_plugin_api::{
    Error, Result,
    database::{Batch, Expect, Transaction, Value, ValueRef},
    task::Pace,
};

use super::{define, plan::Plan};
use crate::{
    catalog::{Collection, Options},
    json::Json,
    limits, paging,
    schema::{Schema, USERS},
    storage::{Shape, table_name},
};

/// The result of a migration: which records prevent it.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// The number of records checked.
    pub(super) checked: u64,
    /// The number of records whose data changed.
    pub(super) changed: u64,
    /// The number of records that would become invalid.
    pub(super) failing: u64,
    /// The first failing records: their ids and what is wrong.
    pub(super) failures: Vec<JsonValue>,
}

impl Outcome {
    /// Writes changed records. After the first failure the rest is only checked, since everything will be rolled back.
    async fn write(&self, transaction: &mut Transaction, batch: Batch) -> Result<()> {
        if self.failing == 0 && !batch.is_empty() {
            transaction.apply(batch).await?;
        }
        Ok(())
    }

    /// Counts the records that match `condition`, and lists the first of them.
    async fn find(
        &mut self,
        transaction: &mut Transaction,
        (table, condition, order): (&str, &str, &str),
        (path, message): (&str, &str),
    ) -> Result<()> {
        let count = format!("SELECT count(*) FROM {table} WHERE {condition}");
        let count = transaction.query(&count, &[]).await?;
        let count = count.first().map_or(Ok(0), |row| row.integer(0))?;
        if count == 0 {
            return Ok(());
        }
        let max = limits::FAILURES_LISTED_MAX;
        let ids = format!("SELECT id FROM {table} WHERE {condition} ORDER BY {order} LIMIT {max}");
        for row in &transaction.query(&ids, &[]).await? {
            self.list(row.text(0)?, vec![json!({"path": path, "message": message})]);
        }
        self.failing += u64::try_from(count).unwrap_or(0);
        Ok(())
    }

    fn list(&mut self, id: &str, errors: Vec<JsonValue>) {
        if self.failures.len() < limits::FAILURES_LISTED_MAX {
            self.failures.push(json!({"id": id, "errors": errors}));
        }
    }
}

/// A change of a collection's table.
pub(super) struct Migration<'a> {
    pub(super) collection: &'a Collection,
    pub(super) schema: &'a Schema,
    pub(super) options: &'a Options,
    pub(super) numbers: &'a HashMap<String, i64>,
}

impl Migration<'_> {
    /// Migrates table and records. Failures are in the outcome; the caller must then roll the transaction back.
    pub(super) async fn run(&self, transaction: &mut Transaction, plan: &Plan<'_>) -> Result<Outcome> {
        let number = self.collection.number;
        let number_of = |name: &str| self.numbers.get(name).copied();
        let Collection { dialect, schema, options, .. } = self.collection;
        let before = Shape::of(*dialect, number, schema, options, &number_of);
        let after = Shape::of(*dialect, number, self.schema, self.options, &number_of);
        define::run(transaction, before.drop_statements(&after, number)).await?;
        let mut outcome = Outcome::default();
        if plan.touches_records() {
            self.carry_records(transaction, plan, &mut outcome).await?;
        }
        if outcome.failing > 0 {
            return Ok(outcome);
        }
        define::run(transaction, after.add_column_statements(&before, number)).await?;
        let changed = |column: &str| {
            let column = |shape: &Shape| shape.columns.iter().find(|other| other.name == column).cloned();
            column(&before) != column(&after)
        };
        self.check_uniques(transaction, &mut outcome).await?;
        self.check_references(transaction, &changed, &mut outcome).await?;
        if outcome.failing == 0 {
            define::run(transaction, after.add_index_statements(&before)).await?;
        }
        Ok(outcome)
    }

    async fn carry_records(
        &self,
        transaction: &mut Transaction,
        plan: &Plan<'_>,
        outcome: &mut Outcome,
    ) -> Result<()> {
        let table = table_name(self.collection.number);
        let sizes = paging::sizes(&table, limits::WORK_PAGE_ROWS);
        let select = format!("SELECT seq,id,data FROM {table} WHERE seq>?1 AND seq<=?2 ORDER BY seq");
        let update = format!("UPDATE {table} SET data=?1,version=version+1,updated_at=?2 WHERE seq=?3");
        let (mut last, mut pace) = (i64::MIN, Pace::default());
        loop {
            let sizes = transaction.query(&sizes, &[Value::Integer(last)]).await?;
            let Some(end) = paging::end(&sizes)? else { return Ok(()) };
            let rows = transaction.query(&select, &[Value::Integer(last), Value::Integer(end)]).await?;
            last = end;
            let mut batch = Batch::default();
            for row in &rows {
                let (seq, id, text) = (row.integer(0)?, row.text(1)?, row.text(2)?);
                outcome.checked += 1;
                let stored = Json::parse(text).map_err(|fault| {
                    Error::internal("stored_data", format!("the data of {id} is no JSON: {fault}"))
                })?;
                match plan.follow(&stored) {
                    Ok(next) if next == text => {}
                    Ok(next) => {
                        outcome.changed += 1;
                        let values = [ValueRef::Text(&next), ValueRef::Now, ValueRef::Integer(seq)];
                        batch.push_refs(Expect::Exactly(1), &update, values);
                    }
                    Err(faults) => {
                        outcome.failing += 1;
                        let errors = faults.list().iter();
                        let errors =
                            errors.map(|fault| json!({"path": fault.path, "message": fault.message}));
                        outcome.list(id, errors.collect());
                    }
                }
                pace.worked(text.len()).await;
                if batch.len_bytes() > limits::WORK_PAGE_BYTES {
                    outcome.write(transaction, std::mem::take(&mut batch)).await?;
                }
            }
            outcome.write(transaction, batch).await?;
        }
    }

    /// Finds duplicate values of unique fields.
    async fn check_uniques(&self, transaction: &mut Transaction, outcome: &mut Outcome) -> Result<()> {
        let table = table_name(self.collection.number);
        let was_unique = |name: &str| self.collection.schema.field(name).is_some_and(|field| field.unique);
        let (fields, changed) = (self.schema.fields().iter(), outcome.changed > 0);
        for field in fields.filter(|field| field.unique && (changed || !was_unique(&field.name))) {
            let column = self.collection.dialect.column(&field.name);
            let twice = format!(
                "SELECT {column} FROM {table} WHERE {column} IS NOT NULL GROUP BY {column} HAVING count(*)>1"
            );
            let (condition, order) = (format!("{column} IN ({twice})"), format!("{column},seq"));
            let message = "must be unique, and another record holds the same value";
            outcome.find(transaction, (&table, &condition, &order), (&field.name, message)).await?;
        }
        Ok(())
    }

    /// Finds dangling references among those that the database did not check so far.
    async fn check_references(
        &self,
        transaction: &mut Transaction,
        changed: &(dyn Fn(&str) -> bool + Sync),
        outcome: &mut Outcome,
    ) -> Result<()> {
        let table = table_name(self.collection.number);
        for field in self.schema.fields() {
            let Some(reference) = &field.reference else { continue };
            let dialect = self.collection.dialect;
            let column = dialect.column(&field.name);
            if !changed(&dialect.column_name(&field.name)) {
                continue;
            }
            let target = match self.numbers.get(&reference.collection) {
                _ if reference.collection == USERS => "tb_users".to_owned(),
                Some(number) => table_name(*number),
                None => continue,
            };
            let source = format!("{table} AS source");
            let condition = format!(
                "{column} IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM {target} AS target WHERE target.id=source.{column})"
            );
            let message = format!("leads to no record of {}", reference.collection);
            outcome.find(transaction, (&source, &condition, "seq"), (&field.name, &message)).await?;
        }
        Ok(())
    }
}

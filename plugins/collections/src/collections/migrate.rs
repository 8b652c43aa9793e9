//! Carrying a collection's table and records over to another schema, within a transaction of the caller's.

use std::collections::HashMap;

use serde_json::{Value as JsonValue, json};
use tinybase_plugin_api::{
    Error, Result,
    database::{Batch, Expect, Transaction, Value, ValueRef},
};

use super::{define, plan::Plan};
use crate::{
    catalog::{Collection, Options},
    json::Json,
    limits,
    schema::{Schema, USERS},
    storage::{Shape, table_name},
};

/// Which records stand in the way.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// Records looked at.
    pub(super) checked: u64,
    /// Records whose data changed.
    pub(super) changed: u64,
    /// Records that would not hold.
    pub(super) failing: u64,
    /// The first of them: id and what is wrong.
    pub(super) failures: Vec<JsonValue>,
}

impl Outcome {
    fn fail(&mut self, id: &str, path: &str, message: &str) {
        self.failing += 1;
        self.list(id, vec![json!({"path": path, "message": message})]);
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
    /// Carries table and records over. What is found wrong is in the outcome; the transaction is then to be undone.
    pub(super) async fn run(&self, transaction: &mut Transaction, plan: &Plan<'_>) -> Result<Outcome> {
        let number = self.collection.number;
        let number_of = |name: &str| self.numbers.get(name).copied();
        let Collection { dialect, schema, options, .. } = self.collection;
        let before = Shape::of(*dialect, number, schema, options, &number_of);
        let after = Shape::of(*dialect, number, self.schema, self.options, &number_of);
        define::run(transaction, before.shed(&after, number)).await?;
        let mut outcome = Outcome::default();
        if plan.touches_records() {
            self.carry_records(transaction, plan, &mut outcome).await?;
        }
        if outcome.failing > 0 {
            return Ok(outcome);
        }
        define::run(transaction, after.grow_columns(&before, number)).await?;
        let changed = |column: &str| {
            let column = |shape: &Shape| shape.columns.iter().find(|other| other.name == column).cloned();
            column(&before) != column(&after)
        };
        self.check_uniques(transaction, &mut outcome).await?;
        self.check_references(transaction, &changed, &mut outcome).await?;
        if outcome.failing == 0 {
            define::run(transaction, after.grow_named(&before)).await?;
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
        let select = format!(
            "SELECT seq,id,data FROM {table} WHERE seq>?1 ORDER BY seq LIMIT {}",
            limits::ALTER_PAGE_ROWS
        );
        let update = format!("UPDATE {table} SET data=?1,version=version+1,updated_at=?2 WHERE seq=?3");
        let mut last = i64::MIN;
        loop {
            let rows = transaction.query(&select, &[Value::Integer(last)]).await?;
            if rows.is_empty() {
                return Ok(());
            }
            let mut batch = Batch::default();
            for row in &rows {
                let (seq, id, text) = (row.integer(0)?, row.text(1)?, row.text(2)?);
                last = seq;
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
            }
            // Once one fails, the rest is looked at and nothing more is written: all of it is undone.
            if outcome.failing == 0 && !batch.is_empty() {
                transaction.apply(batch).await?;
            }
        }
    }

    /// Finds values that two records hold although they must be unique.
    async fn check_uniques(&self, transaction: &mut Transaction, outcome: &mut Outcome) -> Result<()> {
        let table = table_name(self.collection.number);
        let was_unique = |name: &str| self.collection.schema.field(name).is_some_and(|field| field.unique);
        let (fields, changed) = (self.schema.fields().iter(), outcome.changed > 0);
        for field in fields.filter(|field| field.unique && (changed || !was_unique(&field.name))) {
            let column = self.collection.dialect.column(&field.name);
            let twice = format!(
                "SELECT {column} FROM {table} WHERE {column} IS NOT NULL GROUP BY {column} HAVING count(*)>1"
            );
            let sql = format!("SELECT id FROM {table} WHERE {column} IN ({twice}) ORDER BY {column},seq");
            for row in &transaction.query(&sql, &[]).await? {
                outcome.fail(
                    row.text(0)?,
                    &field.name,
                    "must be unique, and another record holds the same value",
                );
            }
        }
        Ok(())
    }

    /// Finds references that lead nowhere, among those that the database has not watched so far.
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
            let sql = format!(
                "SELECT id FROM {table} AS source WHERE {column} IS NOT NULL AND NOT EXISTS \
                 (SELECT 1 FROM {target} AS target WHERE target.id=source.{column})"
            );
            for row in &transaction.query(&sql, &[]).await? {
                let message = format!("leads to no record of {}", reference.collection);
                outcome.fail(row.text(0)?, &field.name, &message);
            }
        }
        Ok(())
    }
}

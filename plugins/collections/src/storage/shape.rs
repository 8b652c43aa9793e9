//! The shape of a collection's table, derived from its schema and rules. Two shapes determine the SQL of a change.

use super::table_name;
use crate::{
    access::{Action, Rule},
    catalog::Options,
    dialect::{Dialect, Link},
    filter::{Expr, Operand, Place, RecordColumn},
    schema::{Field, OnDelete, Schema, USERS},
};

/// A generated column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Column {
    /// Its name.
    pub name: String,
    /// Its definition, as in `CREATE TABLE`.
    pub definition: String,
}

/// An index, foreign key or trigger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// The statement that creates the function it calls, if any.
    pub setup: Option<String>,
    /// The statement that creates it.
    pub sql: String,
    /// The statements that drop it.
    pub drop: String,
    /// The generated column it depends on: it is dropped when that column changes.
    pub column: Option<String>,
}

impl Named {
    fn statements(&self) -> impl Iterator<Item = String> {
        self.setup.clone().into_iter().chain([self.sql.clone()])
    }
}

/// The parts of a table beyond the columns of every collection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shape {
    dialect: Dialect,
    /// The generated columns.
    pub columns: Vec<Column>,
    /// The indexes.
    pub indexes: Vec<Named>,
    /// The foreign keys that are not declared by a column.
    pub foreign_keys: Vec<Named>,
    /// The triggers; those of `set_null` are on the referenced table.
    pub triggers: Vec<Named>,
}

impl Shape {
    /// Creates the shape of a table without additional parts.
    pub fn bare(dialect: Dialect) -> Shape {
        Shape {
            dialect,
            columns: Vec::new(),
            indexes: Vec::new(),
            foreign_keys: Vec::new(),
            triggers: Vec::new(),
        }
    }

    /// Creates the shape for a schema. `number_of` returns the numbers of the referenced collections.
    pub fn of(
        dialect: Dialect,
        number: i64,
        schema: &Schema,
        options: &Options,
        number_of: &dyn Fn(&str) -> Option<i64>,
    ) -> Shape {
        let mut shape = Shape::bare(dialect);
        let table = table_name(number);
        shape.triggers = dialect.count_triggers(&table, number);
        for field in schema.fields().iter().filter(|field| field.has_column()) {
            shape.add(number, field, number_of);
        }
        // If two references of a record point to the same record, cascading comes before restricting.
        shape.foreign_keys.sort_by_key(|key| !key.sql.ends_with(" ON DELETE CASCADE"));
        if lists_by_owner(options) {
            shape.indexes.push(dialect.owner_index(&table, number));
        }
        shape
    }

    fn add(&mut self, number: i64, field: &Field, number_of: &dyn Fn(&str) -> Option<i64>) {
        let (table, dialect) = (table_name(number), self.dialect);
        let target = field.reference.as_ref().map(|reference| {
            let target = match reference.collection.as_str() {
                USERS => Some("tb_users".to_owned()),
                name => number_of(name).map(table_name),
            };
            (reference, target.expect("a reference was checked to lead to a collection"))
        });
        let link = target.as_ref().map(|(reference, target)| Link {
            table: &table,
            number,
            field,
            reference,
            target,
        });
        self.columns.push(dialect.generated(field, link));
        self.indexes.push(dialect.index(&table, number, field));
        let Some(link) = link else { return };
        self.foreign_keys.extend(dialect.foreign_key(link));
        if link.reference.on_delete == OnDelete::SetNull && link.reference.collection != USERS {
            self.triggers.push(dialect.set_null_trigger(link));
        }
    }

    /// Returns the statement that creates the table with its columns only.
    pub fn create_table(&self, number: i64) -> String {
        let mut create = self.dialect.table_head(&table_name(number));
        for column in &self.columns {
            create.push(',');
            create.push_str(&column.definition);
        }
        create.push(')');
        create
    }

    /// Returns the statements that create the table.
    pub fn create(&self, number: i64) -> Vec<String> {
        let made = self.named().flat_map(Named::statements);
        std::iter::once(self.create_table(number)).chain(made).collect()
    }

    /// Returns the named parts of the table, in the order of their creation.
    pub fn named(&self) -> impl Iterator<Item = &Named> {
        self.indexes.iter().chain(&self.foreign_keys).chain(&self.triggers)
    }

    /// Returns whether both shapes have this part, on the same column.
    fn keeps(&self, next: &Shape, named: &Named) -> bool {
        let same = |all: &Shape| all.named().any(|other| other == named);
        let column = |all: &Shape| {
            all.columns.iter().find(|column| Some(&column.name) == named.column.as_ref()).cloned()
        };
        same(self) && same(next) && column(self) == column(next)
    }

    /// Returns the statements that drop the parts missing in `next`, to be run before the data is changed.
    pub fn drop_statements(&self, next: &Shape, number: i64) -> Vec<String> {
        let parts = self.triggers.iter().chain(&self.foreign_keys).chain(&self.indexes);
        let gone = parts.filter(|named| !self.keeps(next, named)).map(|named| named.drop.clone());
        let columns: Vec<&Column> =
            self.columns.iter().filter(|column| !next.columns.contains(column)).collect();
        gone.chain(self.dialect.drop_columns(&table_name(number), &columns)).collect()
    }

    /// Returns the statements that add the columns missing in `before`, to be run after the data is changed.
    pub fn add_column_statements(&self, before: &Shape, number: i64) -> Vec<String> {
        let columns: Vec<&Column> =
            self.columns.iter().filter(|column| !before.columns.contains(column)).collect();
        self.dialect.add_columns(&table_name(number), &columns)
    }

    /// Returns the statements that add the other parts missing in `before`, to be run after the columns' values are
    /// checked.
    pub fn add_index_statements(&self, before: &Shape) -> Vec<String> {
        self.named().filter(|named| !before.keeps(self, named)).flat_map(Named::statements).collect()
    }

    /// Returns the statements that drop the table.
    pub fn drop(&self, number: i64) -> Vec<String> {
        // Dropping a table deletes its rows, which its own references to itself would refuse.
        let mut statements = self.drop_statements(&Shape::bare(self.dialect), number);
        statements.push(format!("DROP TABLE {}", table_name(number)));
        statements
    }
}

/// Returns whether the list rule may restrict a list to the records of an owner.
fn lists_by_owner(options: &Options) -> bool {
    match options.rules.of(Action::List) {
        Rule::Owner => true,
        Rule::Expression(filter) => names_owner(filter.root()),
        _ => false,
    }
}

fn names_owner(expr: &Expr) -> bool {
    let is_owner =
        |operand: &Operand| matches!(operand, Operand::Place(Place::Record(RecordColumn::OwnerId)));
    match expr {
        Expr::And(parts) | Expr::Or(parts) => parts.iter().any(names_owner),
        Expr::Not(inner) => names_owner(inner),
        Expr::Compare { left, right, .. } => is_owner(left) || is_owner(right),
        Expr::In(operand, _) => is_owner(operand),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

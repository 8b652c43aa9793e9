//! The table of a collection: which columns, indexes and triggers its schema asks for, and the SQL that leads from
//! one shape to another. It never runs SQL.

mod shape;

pub(crate) use shape::set_null_statement;
pub use shape::{Column, Named, Shape};

/// The name of a collection's table.
pub fn table_name(number: i64) -> String {
    format!("collections_r_{number}")
}

/// The name of the field that a column of a collection's table belongs to.
pub fn field_of_column(column: &str) -> &str {
    column.strip_prefix("f_").unwrap_or(column)
}

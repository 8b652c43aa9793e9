//! The table of a collection: the columns, indexes and triggers that its schema needs, and the SQL that converts one
//! shape to another. It never runs SQL.

mod shape;

pub use shape::{Column, Named, Shape};

/// Returns the name of a collection's table.
pub fn table_name(number: i64) -> String {
    format!("collections_r_{number}")
}

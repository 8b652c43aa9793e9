//! The table of a collection: which columns, indexes and triggers its schema asks for, and the SQL that leads from
//! one shape to another. It never runs SQL.

mod shape;

pub use shape::{Column, Named, Shape};

/// The name of a collection's table.
pub fn table_name(number: i64) -> String {
    format!("collections_r_{number}")
}

//! PostgreSQL's SQL. A column has one type, but a JSON value may have any: such a value is read twice, as a number and
//! as text, and SQLite's order is built from both. This module never runs SQL.

mod filter;
mod order;
mod place;
mod table;

pub(super) use filter::{compare, constant, has, is_in, is_null, like};
pub(super) use order::{aggregate, beside, group, order, order_by_position, same};
pub(super) use place::{column_name, quoted, seen};
pub(super) use table::{
    add_columns, among, columns_of, count_of, count_triggers, dangling, delete_some, dependents,
    drop_columns, foreign_key, generated, index, lock, made, owner_index, set_null, set_null_trigger,
    table_head, unlink, window,
};

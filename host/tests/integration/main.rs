//! Integration tests of the host's public API: the database, accounts, the command line. They are one binary, since
//! each binary would link the whole host again.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failed call fails its test, a skipped one says why"
)]

mod accounts;
mod accounts_claim;
mod accounts_links;
mod accounts_own;
mod accounts_refresh;
mod accounts_sessions;
mod administration;
mod audit;
mod boundary;
mod cli;
mod cli_backup;
mod cli_operator;
mod db_functions;
mod db_gather;
mod db_groups;
mod db_load;
mod db_migrations;
mod db_postgres;
mod db_postgres_fairness;
mod db_postgres_nodes;
mod db_scope;
mod db_sqlite;
mod db_transactions;
mod page_layouts;
mod readiness;
mod request_log;
mod second_factor;
mod support;
mod token_descent;

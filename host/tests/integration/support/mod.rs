//! Shared code of the tests, one file per subject.

pub(crate) mod accounts;
pub(crate) mod cli;
pub(crate) mod db;
pub(crate) mod postgres;

//! What the tests share, a file for each subject.

pub(crate) mod accounts;
pub(crate) mod cli;
pub(crate) mod db;
pub(crate) mod postgres;

//! A version of `pulse` that does not start, after a reversible migration.

#[path = "../../pulse/src/body.rs"]
mod body;

const START_FAILS: bool = true;

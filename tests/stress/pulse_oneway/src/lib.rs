//! A version of `pulse` that does not start, after an irreversible migration.

#[path = "../../pulse/src/body.rs"]
mod body;

const START_FAILS: bool = true;

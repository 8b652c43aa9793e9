//! A version of `pulse` with another table.

#[path = "../../pulse/src/body.rs"]
mod body;

const START_FAILS: bool = false;

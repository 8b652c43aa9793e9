//! A version that does not start, behind a migration with a way back of `pulse`.

#[path = "../../pulse/src/body.rs"]
mod body;

const START_FAILS: bool = true;

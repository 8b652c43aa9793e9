//! A version with a further table of `pulse`.

#[path = "../../pulse/src/body.rs"]
mod body;

const START_FAILS: bool = false;

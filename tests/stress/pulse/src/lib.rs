//! The first version of `pulse`.

mod body;

const START_FAILS: bool = false;

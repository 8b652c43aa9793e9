//! The `tinybase` binary: hands the command line to the host library.

fn main() {}

//! The commands of the project: serve, test, bench, dist.

fn main() {}

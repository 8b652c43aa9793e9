//! Passes the build target to the crate: a package contains a library for one target, and a host accepts only its own
//! target.

fn main() {
    let target = std::env::var("TARGET").expect("cargo names the target to build scripts");
    println!("cargo::rustc-env=TINYBASE_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}

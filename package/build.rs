//! Tells the crate which target it is built for: packages carry a library for one target, and this host takes its own alone.

fn main() {
    let target = std::env::var("TARGET").expect("cargo names the target to build scripts");
    println!("cargo::rustc-env=TINYBASE_TARGET={target}");
    println!("cargo::rerun-if-changed=build.rs");
}

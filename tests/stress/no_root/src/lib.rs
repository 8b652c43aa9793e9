//! A library that is not a plugin.

/// Any exported function.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> u32 {
    42
}

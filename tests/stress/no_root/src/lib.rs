//! A library that is no plugin.

/// Something that it exports.
#[unsafe(no_mangle)]
pub extern "C" fn answer() -> u32 {
    42
}

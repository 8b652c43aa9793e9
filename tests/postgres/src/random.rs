//! Unique names, passwords and ports. They need no strong cryptography: what they protect lives for minutes and only
//! listens on this machine.

use std::{
    fs::File,
    io::{self, Read},
};

/// Returns 128 bits of the system's randomness, as 32 hexadecimal digits.
pub(crate) fn word() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_le_bytes(bytes()?)))
}

/// Returns a random number in `range`.
pub(crate) fn port(range: std::ops::Range<u16>) -> io::Result<u16> {
    Ok(range.start + u16::from_le_bytes(bytes()?) % (range.end - range.start))
}

fn bytes<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

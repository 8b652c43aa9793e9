//! Names, passwords and ports that nobody else has. It never claims to be cryptography: what it guards lives for minutes
//! and listens on this machine alone.

use std::{
    fs::File,
    io::{self, Read},
};

/// 128 bits of the system's randomness, as 32 hexadecimal digits.
pub(crate) fn word() -> io::Result<String> {
    Ok(format!("{:032x}", u128::from_le_bytes(bytes()?)))
}

/// A number of `range`.
pub(crate) fn port(range: std::ops::Range<u16>) -> io::Result<u16> {
    Ok(range.start + u16::from_le_bytes(bytes()?) % (range.end - range.start))
}

fn bytes<const COUNT: usize>() -> io::Result<[u8; COUNT]> {
    let mut bytes = [0; COUNT];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes)
}

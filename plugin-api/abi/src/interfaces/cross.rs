//! How a Rust type crosses in a table's function: as what, and what stands in for it when a call cannot be made.

use std::sync::atomic::AtomicU32;

use super::{Outcome, Topic, TopicRef};
use crate::{
    bytes::{Bytes, Slice},
    error::RawError,
    future::{PANICKED, RawFuture, ready},
};

/// A type that may stand in an interface's function.
pub trait Cross: Sized {
    /// What is passed.
    type Raw;
    /// Into what is passed.
    fn into_raw(self) -> Self::Raw;
    /// Out of what was passed.
    ///
    /// # Safety
    /// `raw` must come from `into_raw` on the other side, and live as long as `Self` says.
    unsafe fn from_raw(raw: Self::Raw) -> Self;
    /// What a call answers that the other side does not offer.
    fn missing(function: &str) -> Self;
    /// What a call answers that panicked on the other side.
    fn panicked(function: &str) -> Self {
        Self::missing(function)
    }
}

macro_rules! cross_as_itself {
    ($($kind:ty => $missing:expr;)*) => {$(
        impl Cross for $kind {
            type Raw = $kind;
            fn into_raw(self) -> $kind {
                self
            }
            unsafe fn from_raw(raw: $kind) -> $kind {
                raw
            }
            fn missing(_function: &str) -> $kind {
                $missing
            }
        }
    )*};
}
cross_as_itself! {
    () => ();
    u8 => 0;
    u16 => 0;
    u32 => 0;
    u64 => 0;
    Bytes => Bytes::empty();
    Outcome => Outcome::unchanged();
    TopicRef => TopicRef(nobody());
}

/// The topic that stands in where the host has none: nobody listens.
fn nobody() -> &'static Topic {
    static NOBODY: Topic = Topic { before: AtomicU32::new(0), after: AtomicU32::new(0) };
    &NOBODY
}

impl Cross for bool {
    type Raw = u8;
    fn into_raw(self) -> u8 {
        self.into()
    }
    unsafe fn from_raw(raw: u8) -> bool {
        raw != 0
    }
    fn missing(_function: &str) -> bool {
        false
    }
}

impl<'a> Cross for &'a [u8] {
    type Raw = Slice<'a>;
    fn into_raw(self) -> Slice<'a> {
        Slice::new(self)
    }
    unsafe fn from_raw(raw: Slice<'a>) -> &'a [u8] {
        raw.bytes()
    }
    fn missing(_function: &str) -> &'a [u8] {
        &[]
    }
}

/// Text that is not UTF-8 arrives as the replacement character: no name and no statement, so it fails by itself.
impl<'a> Cross for &'a str {
    type Raw = Slice<'a>;
    fn into_raw(self) -> Slice<'a> {
        self.into()
    }
    unsafe fn from_raw(raw: Slice<'a>) -> &'a str {
        raw.text().unwrap_or("\u{fffd}")
    }
    fn missing(_function: &str) -> &'a str {
        ""
    }
}

impl<T: Send + 'static> Cross for RawFuture<T> {
    type Raw = RawFuture<T>;
    fn into_raw(self) -> RawFuture<T> {
        self
    }
    unsafe fn from_raw(raw: RawFuture<T>) -> RawFuture<T> {
        raw
    }
    fn missing(function: &str) -> RawFuture<T> {
        let message = format!("{function} is not available: the other side does not offer it");
        ready(Err(RawError::new(501, "interface_unavailable", message)))
    }
    fn panicked(function: &str) -> RawFuture<T> {
        ready(Err(RawError::new(500, PANICKED, format!("{function} panicked on the other side"))))
    }
}

//! How a Rust type is passed through a table's function, and its fallback value if a call cannot be made.

use std::sync::atomic::AtomicU32;

use super::{Outcome, Topic, TopicRef};
use crate::{
    bytes::{Bytes, Slice},
    error::RawError,
    future::{PANICKED, RawFuture, ready},
};

/// A type that may be used in an interface's function.
pub trait Cross: Sized {
    /// The type that is passed.
    type Raw;
    /// Converts the value to the passed type.
    fn into_raw(self) -> Self::Raw;
    /// Converts the passed value back.
    ///
    /// # Safety
    /// `raw` must come from `into_raw` on the other side, and live as long as `Self` requires.
    unsafe fn from_raw(raw: Self::Raw) -> Self;
    /// The result of a call to a function that the other side does not offer.
    fn missing(function: &str) -> Self;
    /// The result of a call that panicked on the other side.
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

/// The fallback if the host has no topic: one without listeners.
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

/// Text that is not UTF-8 arrives as the replacement character. It is neither a name nor a statement, so the call
/// fails by itself.
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

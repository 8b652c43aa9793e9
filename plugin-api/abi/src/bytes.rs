//! Bytes passed across the ABI: borrowed as arguments, and owned, with their own function to free them, as results.

use std::{ffi::c_void, fmt, marker::PhantomData, mem::ManuallyDrop, ops::Deref};

use abi_stable::StableAbi;

/// Borrowed bytes. UTF-8 if the field's documentation says text.
#[repr(C)]
#[derive(Clone, Copy, StableAbi)]
pub struct Slice<'a> {
    ptr: *const u8,
    len: usize,
    lifetime: PhantomData<&'a u8>,
}

// SAFETY: a `Slice` is a shared borrow of plain bytes.
unsafe impl Send for Slice<'_> {}
// SAFETY: as above.
unsafe impl Sync for Slice<'_> {}

impl<'a> Slice<'a> {
    /// Borrows `bytes`.
    pub fn new(bytes: &'a [u8]) -> Slice<'a> {
        Slice { ptr: bytes.as_ptr(), len: bytes.len(), lifetime: PhantomData }
    }

    /// Returns an absent slice, which differs from an empty one.
    pub fn absent() -> Slice<'a> {
        Slice { ptr: std::ptr::null(), len: 0, lifetime: PhantomData }
    }

    /// Returns the bytes, or `None` for [`Slice::absent`].
    pub fn get(self) -> Option<&'a [u8]> {
        if self.ptr.is_null() {
            return None;
        }
        // SAFETY: `new` took pointer and length from a live `&'a [u8]`.
        Some(unsafe { std::slice::from_raw_parts(self.ptr, self.len) })
    }

    /// Returns the bytes; empty if absent.
    pub fn bytes(self) -> &'a [u8] {
        self.get().unwrap_or_default()
    }

    /// Returns the bytes as text; `None` if they are absent or not UTF-8.
    pub fn text(self) -> Option<&'a str> {
        self.get().and_then(|bytes| std::str::from_utf8(bytes).ok())
    }

    /// Returns the same bytes without the borrow.
    ///
    /// # Safety
    /// The result must not be used longer than the bytes live.
    pub unsafe fn unbound(self) -> Slice<'static> {
        Slice { ptr: self.ptr, len: self.len, lifetime: PhantomData }
    }
}

impl<'a> From<&'a str> for Slice<'a> {
    fn from(text: &'a str) -> Slice<'a> {
        Slice::new(text.as_bytes())
    }
}

/// Owned bytes, freed by the side that allocated them.
#[repr(C)]
#[derive(StableAbi)]
pub struct Bytes {
    ptr: *const u8,
    len: usize,
    owner: *mut c_void,
    capacity: usize,
    free: Option<unsafe extern "C" fn(owner: *mut c_void, capacity: usize)>,
}

// SAFETY: the bytes are exclusively owned and `free` may be called from any thread.
unsafe impl Send for Bytes {}
// SAFETY: shared access only reads.
unsafe impl Sync for Bytes {}

unsafe extern "C" fn free_vec(owner: *mut c_void, capacity: usize) {
    // SAFETY: `From<Vec<u8>>` took pointer and capacity from a `Vec` of this library's allocator; 0 is a valid
    // length.
    drop(unsafe { Vec::from_raw_parts(owner.cast::<u8>(), 0, capacity) });
}

struct Held<G> {
    bytes: Vec<u8>,
    _guard: G,
}

unsafe extern "C" fn free_held<G>(owner: *mut c_void, _capacity: usize) {
    // SAFETY: `Bytes::guarded` took the pointer from a `Box` of this exact type.
    drop(unsafe { Box::from_raw(owner.cast::<Held<G>>()) });
}

impl Bytes {
    /// Returns empty bytes, without an allocation.
    pub const fn empty() -> Bytes {
        Bytes { ptr: std::ptr::null(), len: 0, owner: std::ptr::null_mut(), capacity: 0, free: None }
    }

    /// Returns owned bytes that keep `guard` alive until they are dropped.
    pub fn guarded<G: Send + 'static>(bytes: Vec<u8>, guard: G) -> Bytes {
        let held = Box::new(Held { bytes, _guard: guard });
        let (ptr, len) = (held.bytes.as_ptr(), held.bytes.len());
        Bytes { ptr, len, owner: Box::into_raw(held).cast(), capacity: 0, free: Some(free_held::<G>) }
    }

    /// Copies the bytes into a `Vec`.
    pub fn into_vec(self) -> Vec<u8> {
        let ours =
            self.free.is_some_and(|free| std::ptr::fn_addr_eq(free, free_vec as unsafe extern "C" fn(_, _)));
        if !ours {
            return self.to_vec();
        }
        let this = ManuallyDrop::new(self);
        // SAFETY: `free` is this library's `free_vec`, so owner, length and capacity come from a `Vec` of this
        // library.
        unsafe { Vec::from_raw_parts(this.owner.cast::<u8>(), this.len, this.capacity) }
    }

    /// Borrows the bytes as a [`Slice`].
    pub fn as_slice(&self) -> Slice<'_> {
        Slice::new(self)
    }
}

impl From<Vec<u8>> for Bytes {
    fn from(bytes: Vec<u8>) -> Bytes {
        let mut bytes = ManuallyDrop::new(bytes);
        let (owner, len, capacity) = (bytes.as_mut_ptr(), bytes.len(), bytes.capacity());
        Bytes { ptr: owner, len, owner: owner.cast(), capacity, free: Some(free_vec) }
    }
}

impl From<String> for Bytes {
    fn from(text: String) -> Bytes {
        Bytes::from(text.into_bytes())
    }
}

impl From<&str> for Bytes {
    fn from(text: &str) -> Bytes {
        Bytes::from(text.as_bytes().to_vec())
    }
}

impl Deref for Bytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        if self.ptr.is_null() {
            return &[];
        }
        // SAFETY: the creator's pointer and length stay valid until `free`.
        unsafe { std::slice::from_raw_parts(self.ptr, self.len) }
    }
}

impl AsRef<[u8]> for Bytes {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Bytes {
    fn drop(&mut self) {
        if let Some(free) = self.free.take() {
            // SAFETY: called once, with the arguments that the creator stored with it.
            unsafe { free(self.owner, self.capacity) };
        }
    }
}

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Bytes({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vec_crosses_and_comes_back_without_a_copy() {
        let source = b"hello".to_vec();
        let address = source.as_ptr();
        let back = Bytes::from(source).into_vec();
        assert_eq!((back.as_slice(), back.as_ptr()), (b"hello".as_slice(), address));
    }

    #[test]
    fn a_guard_lives_as_long_as_its_bytes() {
        let guard = std::sync::Arc::new(());
        for bytes in [&b"hello"[..], b""] {
            let held = Bytes::guarded(bytes.to_vec(), std::sync::Arc::clone(&guard));
            assert_eq!((&*held, std::sync::Arc::strong_count(&guard)), (bytes, 2));
            assert_eq!(held.into_vec(), bytes);
            assert_eq!(std::sync::Arc::strong_count(&guard), 1);
        }
    }

    #[test]
    fn absent_differs_from_empty() {
        assert_eq!(Slice::absent().get(), None);
        assert_eq!(Slice::from("").get(), Some(&b""[..]));
        assert_eq!(Bytes::empty().len(), 0);
    }
}

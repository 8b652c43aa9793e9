//! The allocator of the process, and how soon it returns memory to the system. It keeps no statistics.

use std::{
    alloc::{GlobalAlloc, Layout},
    ffi::c_long,
};

use libmimalloc_sys::{mi_option_set, mi_option_t};
use mimalloc::MiMalloc;
use tinybase_host::memory::MAPPED_BYTES_MIN;

/// Requests allocate on one thread and are freed on another (mostly the writer's results), which mimalloc handles
/// better than the system's allocator: about a tenth more creates per second.
#[global_allocator]
static ALLOCATOR: Allocator = Allocator;

/// mimalloc, except for large blocks: these are mapped from the system and returned to it at once. mimalloc keeps
/// memory that is freed on another thread until the allocating thread allocates much more, which a thread that took a
/// worker's place may never do. Rows of large reads are allocated on any of a hundred threads; once freed, they still
/// used several hundred megabytes. Mapped blocks also grow without being copied.
struct Allocator;

/// Whether a block is mapped from the system. It depends on size and alignment alone, so that it is known when the
/// block is freed.
#[inline]
const fn is_mapped(layout: Layout) -> bool {
    cfg!(target_os = "linux") && layout.size() >= MAPPED_BYTES_MIN && layout.align() <= 4096
}

// SAFETY: each block is freed and grown by what allocated it, since `is_mapped` always returns the same for a layout.
// Both sides fulfil the contract of `GlobalAlloc`: mimalloc is written for it, and `mapped` returns separate pages or
// null.
unsafe impl GlobalAlloc for Allocator {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            return mapped::allocate(layout.size());
        }
        // SAFETY: the caller fulfils the same contract.
        unsafe { MiMalloc.alloc(layout) }
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if is_mapped(layout) {
            // The system's pages are zeroed.
            return mapped::allocate(layout.size());
        }
        // SAFETY: as above.
        unsafe { MiMalloc.alloc_zeroed(layout) }
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        if is_mapped(layout) {
            // SAFETY: a block of this layout was mapped.
            return unsafe { mapped::free(block, layout.size()) };
        }
        // SAFETY: as above.
        unsafe { MiMalloc.dealloc(block, layout) }
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller guarantees that the size, rounded up to the alignment, does not overflow.
        let wanted = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_mapped(layout), is_mapped(wanted)) {
            // SAFETY: the caller fulfils the same contract.
            (false, false) => unsafe { MiMalloc.realloc(block, layout, size) },
            // SAFETY: a block of this layout was mapped, and one of the wanted layout is unmapped when freed.
            (true, true) => unsafe { mapped::resize(block, layout.size(), size) },
            _ => {
                // SAFETY: the wanted layout is valid, as above.
                let moved = unsafe { self.alloc(wanted) };
                if !moved.is_null() {
                    // SAFETY: both blocks have at least this many bytes, and the new one does not overlap the old one.
                    unsafe { std::ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
                    // SAFETY: the caller no longer uses the old block if there is a new one.
                    unsafe { self.dealloc(block, layout) };
                }
                moved
            }
        }
    }
}

/// Blocks that consist of separate pages.
#[cfg(target_os = "linux")]
mod mapped {
    use std::ptr::null_mut;

    use libc::{MAP_ANONYMOUS, MAP_FAILED, MAP_PRIVATE, MREMAP_MAYMOVE, PROT_READ, PROT_WRITE};

    /// Returns a zeroed block, or null if the system has no memory.
    pub(super) fn allocate(size: usize) -> *mut u8 {
        let (protection, flags) = (PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS);
        // SAFETY: a new mapping overlaps no existing one.
        or_null(unsafe { libc::mmap(null_mut(), size, protection, flags, -1, 0) })
    }

    /// # Safety
    /// The block was allocated with this size, and is no longer used.
    pub(super) unsafe fn free(block: *mut u8, size: usize) {
        // SAFETY: its pages belong to nothing else. If the system cannot unmap them, they stay.
        let _ = unsafe { libc::munmap(block.cast(), size) };
    }

    /// Resizes the block, in place or elsewhere; null leaves it unchanged.
    ///
    /// # Safety
    /// As in [`free`].
    pub(super) unsafe fn resize(block: *mut u8, size: usize, wanted: usize) -> *mut u8 {
        // SAFETY: as in `free`; its contents are moved along.
        or_null(unsafe { libc::mremap(block.cast(), size, wanted, MREMAP_MAYMOVE) })
    }

    fn or_null(mapping: *mut libc::c_void) -> *mut u8 {
        if mapping == MAP_FAILED { null_mut() } else { mapping.cast() }
    }
}

/// Nothing is mapped on other systems.
#[cfg(not(target_os = "linux"))]
mod mapped {
    pub(super) fn allocate(_: usize) -> *mut u8 {
        std::ptr::null_mut()
    }

    pub(super) unsafe fn free(_: *mut u8, _: usize) {}

    pub(super) unsafe fn resize(_: *mut u8, _: usize, _: usize) -> *mut u8 {
        std::ptr::null_mut()
    }
}

/// The number of this option in `mimalloc.h`: the delay in milliseconds before freed memory is returned to the system.
const PURGE_DELAY: mi_option_t = 15;

/// mimalloc's default is a second, with which consecutive large responses took several hundred megabytes more than they
/// needed. With this delay, memory that small requests free is still reused before it is returned.
const PURGE_DELAY_MS: c_long = 10;

/// Sets the delay. Must be called before anything large is allocated.
pub fn give_back_soon() {
    // SAFETY: the option is a valid number of mimalloc's, and may be set at any time from any thread.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

    #[test]
    fn a_buffer_keeps_what_it_holds_as_it_crosses_the_border_both_ways() {
        let mut buffer: Vec<usize> = Vec::new();
        for length in [1 << 10, MAPPED_BYTES_MIN / 8 - 1, MAPPED_BYTES_MIN / 8, MAPPED_BYTES_MIN, 1 << 20] {
            buffer.reserve_exact(length - buffer.len());
            buffer.extend(buffer.len()..length);
            assert!(buffer.iter().copied().eq(0..length), "{length}");
        }
        for length in [MAPPED_BYTES_MIN, MAPPED_BYTES_MIN / 8, MAPPED_BYTES_MIN / 8 - 1, 10] {
            buffer.truncate(length);
            buffer.shrink_to_fit();
            assert!(buffer.iter().copied().eq(0..length), "{length}");
        }
        assert!(vec![0_u64; MAPPED_BYTES_MIN].iter().all(|number| *number == 0));
    }

    fn delay() -> c_long {
        // SAFETY: as above.
        unsafe { mi_option_get(PURGE_DELAY) }
    }

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        assert_eq!(delay(), 1_000, "the allocator's default; another number would be another option's");
        give_back_soon();
        assert_eq!(delay(), PURGE_DELAY_MS);
    }
}

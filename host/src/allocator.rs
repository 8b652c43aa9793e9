//! The allocator of the process, and how soon it gives memory back. It counts nothing.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set, mi_option_t};

/// Requests allocate on one thread and are freed on another (the writer's answers above all), which this allocator bears
/// better than the system's: about a tenth more creates a second.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// The option of this number in `mimalloc.h`: after how many milliseconds freed memory is given back to the system.
const PURGE_DELAY: mi_option_t = 15;

/// The allocator's own delay is a second: large answers that are made one after another then took several hundred megabytes
/// more than they ever held. At this delay what small requests free is still used again before it is given back.
const PURGE_DELAY_MS: c_long = 10;

/// To be called before anything large is allocated.
pub fn give_back_soon() {
    // SAFETY: the option is a number of the allocator's own, which may be set at any time from any thread.
    unsafe { mi_option_set(PURGE_DELAY, PURGE_DELAY_MS) };
}

#[cfg(test)]
mod tests {
    use libmimalloc_sys::mi_option_get;

    use super::*;

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

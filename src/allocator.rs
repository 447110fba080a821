//! The allocator of the program, and how long it keeps memory that is free.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// The client library allocates each fetched record on a thread of its own and frees it on ours; where
/// that is the allocator of the C library, millions of accounts among them end up in a memory of holes.
/// The library uses this one too: the feature `override` of the crate replaces `malloc` and `free`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long memory that is free is kept before it is given back to the system, in milliseconds; by default a
/// second. While accounts are restored or come anew, what is free is needed again soon: to give it back in
/// between costs twice, and takes huge pages apart: restores that never gave any back took a fifth less CPU time.
const PURGE_DELAY_MS: c_long = 5_000;

/// `mi_option_purge_delay`, which the crate has no name for.
const PURGE_DELAY: mi_option_t = 15;

/// To be called first of all. What the environment says (`MIMALLOC_PURGE_DELAY`) stands.
#[expect(unsafe_code, reason = "the allocator's settings are only to be had from C")]
pub fn set_up() {
    // SAFETY: sets a number; other threads, which would read it, are yet to come.
    unsafe { mi_option_set_default(PURGE_DELAY, PURGE_DELAY_MS) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(unsafe_code, reason = "the allocator's settings are only to be had from C")]
    fn the_setting_is_the_one_that_is_meant() {
        // SAFETY: reads a number.
        let read = |option| unsafe { libmimalloc_sys::mi_option_get(option) };
        // A version of the allocator that numbers its settings anew would show: no other one has this default.
        assert_eq!(read(PURGE_DELAY), 1000);
        set_up();
        assert_eq!(read(PURGE_DELAY), PURGE_DELAY_MS);
    }
}

//! The allocator of the program, and how long it keeps memory that is free.
//!
//! It is mimalloc, which replaces `malloc` and `free` for all that is linked with it (feature `override`), and so also
//! for Rust's own default. The client library needs it as well: it allocates each fetched record on a thread of its own
//! and frees it on ours; where that is the allocator of the C library, millions of accounts among them end up in a
//! memory of holes.
//!
//! It is not declared as the global allocator. That would ask for the alignment of whatever it allocates, also where
//! every block has it anyway; and version 3 grants such a wish by taking the next larger size, unless the size is a power
//! of two: accounts took up to a fifth more memory.

use std::ffi::c_long;

use libmimalloc_sys::{mi_option_set_default, mi_option_t};

/// `mi_option_purge_delay`, which the crate has no name for.
const PURGE_DELAY: mi_option_t = 15;

/// How long memory that is free is kept before it is given back to the system, in milliseconds (-1 for ever); by default
/// a second. To be called first of all. What the environment says (`MIMALLOC_PURGE_DELAY`) stands.
#[expect(unsafe_code, reason = "the allocator's settings are only to be had from C")]
pub fn keep_free_memory_for(millis: c_long) {
    // SAFETY: sets a number; other threads, which would read it, are yet to come.
    unsafe { mi_option_set_default(PURGE_DELAY, millis) }
}

#[cfg(test)]
mod tests {
    /// Those that accounts come in.
    #[test]
    #[expect(unsafe_code, reason = "the size of a block is only to be had from C")]
    fn a_block_takes_no_more_than_the_size_that_it_asks_for() {
        for words in [2, 4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 64, 80] {
            let block = vec![words; words].into_boxed_slice();
            let start = block.as_ptr().cast();
            // SAFETY: asks where a pointer points to.
            assert!(unsafe { libmimalloc_sys::mi_is_in_heap_region(start) }, "not the memory of this allocator");
            // SAFETY: a block of this allocator, as was just asked.
            assert_eq!(unsafe { libmimalloc_sys::mi_usable_size(start) }, size_of_val(&*block));
        }
    }

    #[test]
    #[expect(unsafe_code, reason = "the allocator's settings are only to be had from C")]
    fn the_setting_is_the_one_that_is_meant() {
        // SAFETY: reads a number.
        let read = |option| unsafe { libmimalloc_sys::mi_option_get(option) };
        // A version of the allocator that numbers its settings anew would show: no other one has this default.
        assert_eq!(read(super::PURGE_DELAY), 1000);
        super::keep_free_memory_for(5_000);
        assert_eq!(read(super::PURGE_DELAY), 5_000);
    }
}

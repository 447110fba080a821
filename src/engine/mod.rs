//! Decides: pure, synchronous, clock-free, cannot fail.

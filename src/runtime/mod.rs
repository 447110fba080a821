//! The only loop: worker, commit, phases, clock.

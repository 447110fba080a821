//! Records from files.

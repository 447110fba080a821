//! See `Cargo.toml`.

#[path = "../../src/engine/block.rs"]
pub mod block;

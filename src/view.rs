//! Committed standings for readers.

#![deny(missing_docs)]
//! Crate.

//! The CUDA tests: on a GPU where there is one, else on the stand-in driver (`stand_in.rs`).
//!
//! A test begins with `if !stand_in::ready() { return }`.

#[path = "../common/mod.rs"]
mod common;
mod cudnn;
mod driver;
mod enhance;
mod faults;
mod filter_pass;
mod network;
mod nvrtc;
#[cfg(feature = "nccl")]
mod ranks;
mod stand_in;
mod training;

//! One test program for the crate, so that it is linked once.

mod common;

mod augment;
mod bad_files;
mod cache;
mod colour;
mod decode;
mod encode;
mod feed;
mod layout;
mod metadata;
mod mix;
mod mutated;
mod orientation;
mod pairs;
mod prepare;
mod protocol;
#[cfg(feature = "raw")]
mod raw;
mod registration;
#[cfg(feature = "remote")]
mod remote;
mod rendering;
mod sample;
#[cfg(feature = "raw")]
mod sid;
mod split;
mod synthetic;
mod verify;

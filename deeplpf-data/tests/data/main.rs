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
mod orientation;
mod pairs;
mod protocol;
mod registration;
mod rendering;
mod sample;
mod split;
mod synthetic;
mod verify;

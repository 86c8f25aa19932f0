//! The built program, run as a user runs it.
//!
//! Every test has a folder of its own, in which the program is started, and looks at exit code,
//! stdout, stderr and what is on disk afterwards.

mod bad_sets;
mod compare;
mod damaged_pictures;
mod damaged_weights;
mod data;
#[cfg(feature = "default-weights")]
mod default_weights;
mod enhance;
mod evaluation;
mod inspect;
mod interruption;
mod killed_trainings;
mod metrics;
mod output_places;
mod photographs;
mod pickles;
mod ranks;
mod raw_files;
mod recipes;
mod report;
mod room;
mod sweeps;
mod synthetic;
mod training;
mod weights;

//! How sure a number is: intervals, paired tests, their correction, and spread over seeds.
//!
//! The images of a test set are taken as a sample of the photographs a method will meet, so every
//! interval and test resamples or ranks images. That says nothing about other data, and nothing
//! about training again with another seed, for which there is [`Spread`].

mod bootstrap;
mod generator;
mod holm;
mod paired;
mod spread;
mod wilcoxon;

pub use bootstrap::{Bootstrap, CONFIDENCE, Interval, RESAMPLES, bootstrap_mean};
pub use holm::holm;
pub use paired::{LEVEL, PairedDifference, Verdict, adjust_together};
pub use spread::Spread;
pub use wilcoxon::{Wilcoxon, wilcoxon_signed_rank};

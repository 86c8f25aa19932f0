//! From pairs to the numbers a training step reads: prefetched, cut, mirrored, as planes of `f32`.
//!
//! [`PairView`] is a pair as it lies in memory or in a [cache](crate::cache): bytes, 16-bit levels
//! or `f32`. A [`Preparation`] says what a training step wants of it, draws the random part from a
//! generator and writes a [`PlanarBatch`]. A [`Prefetch`] makes batches on threads of its own and
//! hands them out in order: since every batch is a function of its number alone, neither the
//! number of threads nor their timing changes anything.
//!
//! ```
//! use deeplpf_data::feed::{PairView, PlanarBatch, Prefetch, Preparation};
//! use std::sync::Arc;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # fn generator(step: u64) -> impl rand_core::Rng { Counter(step) }
//! # struct Counter(u64);
//! # impl rand_core::TryRng for Counter {
//! #     type Error = std::convert::Infallible;
//! #     fn try_next_u32(&mut self) -> Result<u32, Self::Error> { Ok(self.try_next_u64()? as u32) }
//! #     fn try_next_u64(&mut self) -> Result<u64, Self::Error> { self.0 += 7; Ok(self.0 << 32) }
//! #     fn try_fill_bytes(&mut self, _: &mut [u8]) -> Result<(), Self::Error> { Ok(()) }
//! # }
//! let pairs = Arc::new(deeplpf_data::sample::pairs()?);
//! let preparation = Preparation { crop: 64, flips: true, ..Preparation::default() };
//! let batches = Prefetch::new(2, move |step| {
//!     let chosen = pairs.chunks(4).nth(step as usize)?;
//!     let views = chosen.iter().map(PairView::of);
//!     Some(PlanarBatch::prepare(views, &preparation, &mut generator(step)))
//! })?;
//! for batch in batches {
//!     assert_eq!(batch?.shape, [4, 3, 64, 64]);
//! }
//! # Ok(())
//! # }
//! ```

mod batch;
mod convert;
mod prefetch;
mod view;

pub use batch::{PlanarBatch, Preparation};
pub use prefetch::Prefetch;
pub use view::{PairView, Samples};

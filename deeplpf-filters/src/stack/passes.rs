//! The passes over the pixels, compiled once for `f32` and `f64` in this crate and not again in
//! every crate that uses a generic function of the stack.

use super::apply::{ApplyBlock, PolynomialBlock};
use super::maps::MapBlock;
use super::vjp::{PolynomialVjpBlock, Sums, VjpBlock};
use crate::Result;
use crate::simd::{Lanes, Token};

/// The passes of a pixel type, each on one block of rows.
pub trait Passes: Lanes {
    fn apply(token: Token, block: ApplyBlock<'_, Self>);
    fn apply_polynomial(token: Token, block: PolynomialBlock<'_, Self>);
    fn scale_maps(token: Token, block: MapBlock<'_, Self>);
    fn vjp(token: Token, block: VjpBlock<'_, Self>) -> Result<Sums>;
    fn vjp_polynomial(token: Token, block: PolynomialVjpBlock<'_, Self>) -> Result<Sums>;
}

macro_rules! passes {
    ($float:ident) => {
        impl Passes for $float {
            fn apply(token: Token, block: ApplyBlock<'_, Self>) {
                token.dispatch(block);
            }

            fn apply_polynomial(token: Token, block: PolynomialBlock<'_, Self>) {
                token.dispatch(block);
            }

            fn scale_maps(token: Token, block: MapBlock<'_, Self>) {
                token.dispatch(block);
            }

            fn vjp(token: Token, block: VjpBlock<'_, Self>) -> Result<Sums> {
                token.dispatch(block)
            }

            fn vjp_polynomial(token: Token, block: PolynomialVjpBlock<'_, Self>) -> Result<Sums> {
                token.dispatch(block)
            }
        }
    };
}

passes!(f32);
passes!(f64);

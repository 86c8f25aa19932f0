//! The inner loops: sums over channels and kernel taps for a few pixels of one row.
//!
//! Feature maps keep channels in blocks of one vector: element (block, x, lane) of a row stands at
//! `(block * stride + x) * L + lane`. A weight vector then holds one input channel's weights for L
//! output channels, and every input number is broadcast. A tile of P pixels times B output blocks
//! stays in registers, so that a step of B + P loads feeds B P multiply-adds.

use crate::simd::{Instructions, Lanes, load, store};
use pulp::{Simd, WithSimd};

/// What follows a sum.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Finish {
    /// More is to be added by a later pass.
    Open,
    /// Nothing.
    Linear,
    /// LeakyReLU with this slope.
    Leaky(f32),
}

/// One pass over a row: adds the products of one input block to B output blocks.
#[derive(Clone, Copy)]
pub(super) struct Pass {
    /// For every vertical tap, the input pixel under the first output pixel's leftmost tap.
    pub rows: [*const f32; 3],
    /// Vertical taps, 1 to 3.
    pub taps_y: usize,
    /// Horizontal taps, 1 to 3.
    pub taps_x: usize,
    /// Input channels of the block.
    pub channels: usize,
    /// Numbers from one input channel of a pixel to the next.
    pub channel_stride: usize,
    /// (taps_y, taps_x, channels, B, L).
    pub weights: *const f32,
    /// (B, L) to start from; null to continue from what `out` holds.
    pub bias: *const f32,
    /// First output pixel of the first block.
    pub out: *mut f32,
    /// Numbers from one output pixel to the next.
    pub out_pixel: usize,
    /// Numbers from one output block to the next.
    pub out_block: usize,
    /// Output pixels.
    pub pixels: usize,
    /// What follows.
    pub finish: Finish,
}

/// Distance between the input pixels under neighbouring output pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Numbers of one plane: neighbours are adjacent.
    Planar,
    /// Blocks, one pixel on.
    One,
    /// Blocks, two pixels on.
    Two,
}

/// Runs passes over B = `blocks` (1 or 2) output blocks.
pub(super) struct RunPass<'a> {
    pub pass: &'a Pass,
    pub blocks: usize,
    pub step: Step,
}

impl RunPass<'_> {
    /// # Safety
    /// All pointers of the pass must be valid for every pixel, tap, channel and block it names,
    /// and nobody else may touch the output meanwhile.
    pub unsafe fn run(self, instructions: Instructions) {
        instructions.run(self);
    }
}

impl WithSimd for RunPass<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        // SAFETY: the promise of `run`.
        unsafe {
            match (self.blocks, self.step) {
                (1, Step::Planar) => wide::<S, 0>(simd, self.pass),
                (1, Step::One) => wide::<S, 1>(simd, self.pass),
                (1, Step::Two) => wide::<S, 2>(simd, self.pass),
                (_, Step::Planar) => tall::<S, 0>(simd, self.pass),
                (_, Step::One) => tall::<S, 1>(simd, self.pass),
                (_, Step::Two) => tall::<S, 2>(simd, self.pass),
            }
        }
    }
}

/// One output block. With 32 registers 24 sums, else 12.
#[inline(always)]
unsafe fn wide<S: Simd, const STEP: usize>(simd: S, pass: &Pass) {
    let mut x = 0;
    // SAFETY: the promise of `RunPass::run`; x + P never exceeds `pixels`.
    unsafe {
        if S::F32_LANES >= 16 {
            tiles::<S, STEP, 1, 24>(simd, pass, &mut x);
        }
        tiles::<S, STEP, 1, 12>(simd, pass, &mut x);
        tiles::<S, STEP, 1, 4>(simd, pass, &mut x);
        tiles::<S, STEP, 1, 1>(simd, pass, &mut x);
    }
}

/// Two output blocks.
#[inline(always)]
unsafe fn tall<S: Simd, const STEP: usize>(simd: S, pass: &Pass) {
    let mut x = 0;
    // SAFETY: as in `wide`.
    unsafe {
        if S::F32_LANES >= 16 {
            tiles::<S, STEP, 2, 12>(simd, pass, &mut x);
        }
        tiles::<S, STEP, 2, 6>(simd, pass, &mut x);
        tiles::<S, STEP, 2, 2>(simd, pass, &mut x);
        tiles::<S, STEP, 2, 1>(simd, pass, &mut x);
    }
}

/// As many tiles of P pixels as still fit.
#[inline(always)]
unsafe fn tiles<S: Simd, const STEP: usize, const B: usize, const P: usize>(
    simd: S,
    pass: &Pass,
    x: &mut usize,
) {
    struct Tiles<'a, const STEP: usize, const B: usize, const P: usize>(&'a Pass, &'a mut usize);
    impl<const STEP: usize, const B: usize, const P: usize> WithSimd for Tiles<'_, STEP, B, P> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let Self(pass, x) = self;
            while *x + P <= pass.pixels {
                // SAFETY: the promise of `RunPass::run`.
                unsafe { tile::<S, STEP, B, P>(simd, pass, *x) };
                *x += P;
            }
        }
    }
    if *x + P <= pass.pixels {
        simd.vectorize(Tiles::<STEP, B, P>(pass, x));
    }
}

/// max(u, slope u) by comparison, so that NaN stays NaN.
#[inline(always)]
pub(super) fn leaky<S: Simd>(simd: S, value: S::f32s, slope: f32) -> S::f32s {
    let negative = simd.less_than_f32s(value, simd.splat_f32s(0.0));
    simd.select_f32s(negative, simd.mul_f32s(value, simd.splat_f32s(slope)), value)
}

#[inline(always)]
unsafe fn tile<S: Simd, const STEP: usize, const B: usize, const P: usize>(
    simd: S,
    pass: &Pass,
    x: usize,
) {
    let lanes = S::F32_LANES;
    let pixel = if STEP == 0 { 1 } else { STEP * lanes };
    // SAFETY: every address below is one that the pass names; loads of vectors are unaligned ones.
    unsafe {
        let out = pass.out.add(x * pass.out_pixel);
        let mut sums = [[simd.splat_f32s(0.0); B]; P];
        for (p, sums) in sums.iter_mut().enumerate() {
            for (block, sum) in sums.iter_mut().enumerate() {
                *sum = if pass.bias.is_null() {
                    load::<f32, S>(out.add(block * pass.out_block + p * pass.out_pixel))
                } else {
                    load::<f32, S>(pass.bias.add(block * lanes))
                };
            }
        }
        let mut weights = pass.weights;
        for tap_y in 0..pass.taps_y {
            let row = pass.rows[tap_y].add(x * pixel);
            for tap_x in 0..pass.taps_x {
                let mut input = row.add(if STEP == 0 { tap_x } else { tap_x * lanes });
                for _ in 0..pass.channels {
                    let mut weight = [simd.splat_f32s(0.0); B];
                    for (block, weight) in weight.iter_mut().enumerate() {
                        *weight = load::<f32, S>(weights.add(block * lanes));
                    }
                    for (p, sums) in sums.iter_mut().enumerate() {
                        let value = simd.splat_f32s(*input.add(p * pixel));
                        for (sum, &weight) in sums.iter_mut().zip(&weight) {
                            *sum = f32::times_plus(simd, weight, value, *sum);
                        }
                    }
                    input = input.add(pass.channel_stride);
                    weights = weights.add(B * lanes);
                }
            }
        }
        for (p, sums) in sums.iter().enumerate() {
            for (block, &sum) in sums.iter().enumerate() {
                let value = match pass.finish {
                    Finish::Leaky(slope) => leaky(simd, sum, slope),
                    Finish::Open | Finish::Linear => sum,
                };
                store::<f32, S>(out.add(block * pass.out_block + p * pass.out_pixel), value);
            }
        }
    }
}

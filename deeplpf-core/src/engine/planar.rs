//! The inner loops around three-channel images: from blocks of channels to three planes, and from
//! three planes to three planes.

use pulp::{Simd, WithSimd};

use super::kernel::leaky;
use super::memory::{Aligned, Rows, SharedRows};
use super::packed::Weights;
use crate::simd::{Instructions, Lanes, load, store};

/// Channels of an image.
const RGB: usize = 3;

/// A 3x3 convolution from blocks of channels to three planes, with LeakyReLU.
///
/// With only three outputs, a vector holds input channels instead of output channels and is summed
/// across at the end.
pub(super) struct ToPlanes {
    blocks: usize,
    /// (blocks, 3, 3, RGB, L).
    weights: Aligned,
    bias: [f32; RGB],
    slope: f32,
}

impl ToPlanes {
    pub fn new(weights: &Weights, lanes: usize, slope: f32) -> Self {
        let blocks = weights.inputs.div_ceil(lanes);
        let mut values = Vec::new();
        for block in 0..blocks {
            for tap in 0..9 {
                for output in 0..RGB {
                    values.extend((block * lanes..(block + 1) * lanes).map(|input| {
                        if input < weights.inputs {
                            weights.at(output, input, tap / 3, tap % 3) as f32
                        } else {
                            0.0
                        }
                    }));
                }
            }
        }
        let bias = std::array::from_fn(|output| weights.bias[output] as f32);
        Self { blocks, weights: Aligned::from_slice(&values), bias, slope }
    }

    /// One row. `rows` are the source rows under the three vertical taps.
    ///
    /// # Safety
    /// The rows of `source` must hold `pixels` pixels, those of `target` too, and row `y` of
    /// `target` must be nobody else's.
    pub unsafe fn run(
        &self,
        instructions: Instructions,
        source: &Rows,
        rows: [usize; 3],
        (target, y): (SharedRows, usize),
        pixels: usize,
    ) {
        let lanes = instructions.lanes::<f32>();
        let run = RunToPlanes {
            layer: self,
            rows: rows.map(|row| source.row(row).wrapping_sub(lanes)),
            block: source.part(),
            out: std::array::from_fn(|plane| target.row(y, plane)),
            pixels,
        };
        instructions.run(run);
    }
}

struct RunToPlanes<'a> {
    layer: &'a ToPlanes,
    rows: [*const f32; 3],
    block: usize,
    out: [*mut f32; RGB],
    pixels: usize,
}

impl WithSimd for RunToPlanes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let mut x = 0;
        // SAFETY: the promise of `ToPlanes::run`.
        unsafe {
            if S::F32_LANES >= 16 {
                while x + 8 <= self.pixels {
                    self.tile::<S, 8>(simd, x);
                    x += 8;
                }
            }
            while x + 4 <= self.pixels {
                self.tile::<S, 4>(simd, x);
                x += 4;
            }
            while x < self.pixels {
                self.tile::<S, 1>(simd, x);
                x += 1;
            }
        }
    }
}

impl RunToPlanes<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const P: usize>(&self, simd: S, x: usize) {
        let lanes = S::F32_LANES;
        let mut sums = [[simd.splat_f32s(0.0); RGB]; P];
        let mut weights = self.layer.weights.as_slice().as_ptr();
        // SAFETY: the promise of `ToPlanes::run`.
        unsafe {
            for block in 0..self.layer.blocks {
                for row in self.rows {
                    let row = row.add(block * self.block + x * lanes);
                    for tap_x in 0..3 {
                        let weight: [S::f32s; RGB] = std::array::from_fn(|output| {
                            load::<f32, S>(weights.add(output * lanes))
                        });
                        for (p, sums) in sums.iter_mut().enumerate() {
                            let value = load::<f32, S>(row.add((tap_x + p) * lanes));
                            for (sum, &weight) in sums.iter_mut().zip(&weight) {
                                *sum = f32::times_plus(simd, weight, value, *sum);
                            }
                        }
                        weights = weights.add(RGB * lanes);
                    }
                }
            }
            for (p, sums) in sums.iter().enumerate() {
                for (output, &sum) in sums.iter().enumerate() {
                    let value = simd.reduce_sum_f32s(sum) + self.layer.bias[output];
                    let value = if value < 0.0 { value * self.layer.slope } else { value };
                    *self.out[output].add(x + p) = value;
                }
            }
        }
    }
}

/// A 3x3 convolution from three planes to three planes.
pub(super) struct Planes {
    /// (output, input, tap_y, tap_x).
    weights: [[[f32; 9]; RGB]; RGB],
    bias: [f32; RGB],
    /// 1 without activation.
    slope: f32,
}

impl Planes {
    /// `slope` is that of the LeakyReLU that follows, or 1.
    pub fn new(weights: &Weights, slope: f32) -> Self {
        let at = |output, input, tap: usize| weights.at(output, input, tap / 3, tap % 3) as f32;
        Self {
            weights: std::array::from_fn(|output| {
                std::array::from_fn(|input| std::array::from_fn(|tap| at(output, input, tap)))
            }),
            bias: std::array::from_fn(|output| weights.bias[output] as f32),
            slope,
        }
    }

    /// One row: the convolution of the source rows `rows`, and `add` (a row of planes) if given.
    /// Numbers up to the next whole vector are written after the last pixel.
    ///
    /// # Safety
    /// `out` must have room for `pixels` numbers in whole vectors, as planar [`Rows`] have, and be
    /// nobody else's.
    pub unsafe fn run(
        &self,
        instructions: Instructions,
        source: &Rows,
        rows: [usize; 3],
        add: Option<(&Rows, usize)>,
        out: [*mut f32; RGB],
        pixels: usize,
    ) {
        let run = RunPlanes {
            layer: self,
            rows: rows.map(|row| source.row(row).wrapping_sub(1)),
            plane: source.part(),
            add: add.map(|(rows, row)| (rows.row(row), rows.part())),
            out,
            pixels,
        };
        instructions.run(run);
    }

    /// As [`Planes::run`], into three planes with room for whole vectors.
    pub fn row<'a>(
        &self,
        instructions: Instructions,
        source: &Rows,
        rows: [usize; 3],
        planes: impl Iterator<Item = &'a mut [f32]>,
        pixels: usize,
    ) {
        let mut out = [std::ptr::null_mut(); RGB];
        let mut count = 0;
        for (to, plane) in out.iter_mut().zip(planes) {
            assert!(plane.len() >= Rows::planar_stride(pixels), "a plane without room");
            *to = plane.as_mut_ptr();
            count += 1;
        }
        assert_eq!(count, RGB, "planes of an image");
        assert!(source.part() >= Rows::planar_stride(pixels), "source planes without room");
        // SAFETY: three planes, borrowed exclusively, and the source's rows, with room for whole
        // vectors.
        unsafe { self.run(instructions, source, rows, None, out, pixels) };
    }
}

struct RunPlanes<'a> {
    layer: &'a Planes,
    rows: [*const f32; 3],
    plane: usize,
    add: Option<(*const f32, usize)>,
    out: [*mut f32; RGB],
    pixels: usize,
}

impl WithSimd for RunPlanes<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let vectors = self.pixels.div_ceil(S::F32_LANES);
        let mut vector = 0;
        // SAFETY: the promise of `Planes::run`.
        unsafe {
            while vector + 4 <= vectors {
                self.tile::<S, 4>(simd, vector * S::F32_LANES);
                vector += 4;
            }
            while vector < vectors {
                self.tile::<S, 1>(simd, vector * S::F32_LANES);
                vector += 1;
            }
        }
    }
}

impl RunPlanes<'_> {
    #[inline(always)]
    unsafe fn tile<S: Simd, const P: usize>(&self, simd: S, x: usize) {
        let lanes = S::F32_LANES;
        let mut sums = self.layer.bias.map(|bias| [simd.splat_f32s(bias); P]);
        // SAFETY: the promise of `Planes::run`.
        unsafe {
            for input in 0..RGB {
                for (tap_y, row) in self.rows.iter().enumerate() {
                    let row = row.add(input * self.plane + x);
                    for tap_x in 0..3 {
                        for p in 0..P {
                            let value = load::<f32, S>(row.add(tap_x + p * lanes));
                            for (output, sums) in sums.iter_mut().enumerate() {
                                let weight = self.layer.weights[output][input][tap_y * 3 + tap_x];
                                sums[p] =
                                    f32::times_plus(simd, simd.splat_f32s(weight), value, sums[p]);
                            }
                        }
                    }
                }
            }
            for (output, sums) in sums.iter().enumerate() {
                for (p, &sum) in sums.iter().enumerate() {
                    let mut value = leaky(simd, sum, self.layer.slope);
                    if let Some((row, plane)) = self.add {
                        let added = load::<f32, S>(row.add(output * plane + x + p * lanes));
                        value = simd.add_f32s(value, added);
                    }
                    store::<f32, S>(self.out[output].add(x + p * lanes), value);
                }
            }
        }
    }
}

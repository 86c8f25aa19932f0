//! A data set that lives in GPU memory as bytes.

use super::{
    Device,
    error::CudaError,
    kernels::Pick,
    memory::{Buffer, aligned},
    span::Span,
};

/// A pair of photographs of one size: interleaved red, green and blue, row by row, as decoders yield
/// them.
#[derive(Clone, Copy, Debug)]
pub struct BytePair<'a> {
    /// Height x width x 3 bytes.
    pub input: &'a [u8],
    /// As `input`.
    pub target: &'a [u8],
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
}

/// Which part of which pair a step sees, and how it is turned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PairPick {
    /// Number of the pair.
    pub pair: usize,
    /// First row of the crop.
    pub top: usize,
    /// First column of the crop.
    pub left: usize,
    /// Mirrored left to right, after the crop.
    pub horizontal: bool,
    /// Upside down, after the crop.
    pub vertical: bool,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    input: usize,
    target: usize,
    height: usize,
    width: usize,
}

/// Pairs of 8-bit photographs uploaded once; crops and flips are made there. FiveK at 512 pixels is
/// 2.3 GB.
pub struct ResidentPairs {
    buffer: Buffer,
    pairs: Vec<Stored>,
}

impl ResidentPairs {
    /// Bytes of GPU memory that pairs of these sizes (height, width) need.
    pub fn bytes(sizes: impl IntoIterator<Item = (usize, usize)>) -> usize {
        sizes.into_iter().map(|(height, width)| 6 * height * width).sum()
    }

    /// Uploads the pairs that `load` yields for 0..`sizes.len()`, one at a time.
    ///
    /// # Errors
    /// Not enough memory, a pair of another size than announced, or an error of `load`.
    pub fn upload<E: From<CudaError>>(
        device: &Device,
        sizes: &[(usize, usize)],
        mut load: impl FnMut(
            usize,
            &mut dyn FnMut(BytePair<'_>) -> Result<(), CudaError>,
        ) -> Result<(), E>,
    ) -> Result<Self, E> {
        let bytes = aligned(Self::bytes(sizes.iter().copied()));
        let buffer = Buffer::zeros(device, "the data set", bytes)?;
        let mut pairs = Vec::with_capacity(sizes.len());
        let mut first = 0;
        for (number, &(height, width)) in sizes.iter().enumerate() {
            let count = 3 * height * width;
            let stored = Stored { input: first, target: first + count, height, width };
            load(number, &mut |pair| {
                let lengths = (pair.input.len(), pair.target.len());
                if (pair.height, pair.width) != (height, width) || lengths != (count, count) {
                    return Err(CudaError::Argument {
                        what: "pair of photographs",
                        found: format!(
                            "{}x{} with {} and {} bytes",
                            pair.width, pair.height, lengths.0, lengths.1
                        ),
                        expected: format!("{width}x{height} with {count} bytes each"),
                    });
                }
                buffer.write(stored.input, pair.input)?;
                buffer.write(stored.target, pair.target)
            })?;
            pairs.push(stored);
            first += 2 * count;
        }
        Ok(Self { buffer, pairs })
    }

    /// How many pairs.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Height and width of pair `number`, if there is one.
    pub fn size(&self, number: usize) -> Option<(usize, usize)> {
        self.pairs.get(number).map(|pair| (pair.height, pair.width))
    }

    pub(super) fn stored(&self) -> Span<u8> {
        Span::new(self.buffer.pointer(), self.buffer.len())
    }

    /// Inputs' picks, then targets', for crops of `height` x `width`.
    pub(super) fn picks(
        &self,
        picks: &[PairPick],
        (height, width): (usize, usize),
    ) -> Result<Vec<Pick>, CudaError> {
        let mut out = Vec::with_capacity(2 * picks.len());
        for target in [false, true] {
            for pick in picks {
                let fits = |stored: &&Stored| {
                    pick.top.checked_add(height).is_some_and(|end| end <= stored.height)
                        && pick.left.checked_add(width).is_some_and(|end| end <= stored.width)
                };
                let Some(stored) = self.pairs.get(pick.pair).filter(fits) else {
                    return Err(CudaError::Argument {
                        what: "picked pair",
                        found: format!("{width}x{height} of {pick:?}"),
                        expected: format!(
                            "a part of one of {} pairs{}",
                            self.len(),
                            self.size(pick.pair)
                                .map(|(h, w)| format!(", which has {w}x{h} pixels"))
                                .unwrap_or_default()
                        ),
                    });
                };
                out.push(Pick {
                    first: (if target { stored.target } else { stored.input }) as u64,
                    stored_width: stored.width as u32,
                    top: pick.top as u32,
                    left: pick.left as u32,
                    flips: u32::from(pick.horizontal) | u32::from(pick.vertical) << 1,
                });
            }
        }
        Ok(out)
    }
}

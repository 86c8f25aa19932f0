//! Aligned memory and the rows of feature maps in it.

use rayon::{iter::IndexedParallelIterator, slice::ParallelSliceMut};

/// One cache line; vectors inside it never straddle two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([f32; 16]);

const LINE: usize = 16;

/// Numbers that start on a cache line.
pub(super) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    /// `len` zeros.
    pub fn zeros(len: usize) -> Self {
        Self { lines: vec![Line([0.0; LINE]); len.div_ceil(LINE)], len }
    }

    pub fn from_slice(values: &[f32]) -> Self {
        let mut aligned = Self::zeros(values.len());
        aligned.as_mut_slice().copy_from_slice(values);
        aligned
    }

    fn capacity(&self) -> usize {
        self.lines.len() * LINE
    }

    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: a Line is sixteen f32 without padding, and `len` numbers lie inside the lines.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }

    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_slice`, and the lines are borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Memory of earlier feature maps, to be used again: fresh memory costs a page fault every 4 KiB.
#[derive(Default)]
pub(super) struct Workspace {
    free: Vec<Aligned>,
}

/// What is kept in all; the whole image of a large photograph is not.
const WORKSPACE_BYTES: usize = 256 << 20;

impl Workspace {
    /// `len` numbers of any value, each written once at least.
    fn take(&mut self, len: usize) -> Aligned {
        let fits = |aligned: &Aligned| aligned.capacity() >= len && aligned.capacity() <= 2 * len;
        let best = (0..self.free.len())
            .filter(|&at| fits(&self.free[at]))
            .min_by_key(|&at| self.free[at].capacity());
        match best {
            Some(at) => {
                let mut aligned = self.free.swap_remove(at);
                aligned.len = len;
                aligned
            }
            None => Aligned::zeros(len),
        }
    }

    fn give(&mut self, memory: Aligned) {
        let kept: usize = self.free.iter().map(Aligned::capacity).sum();
        if (kept + memory.capacity()) * size_of::<f32>() <= WORKSPACE_BYTES {
            self.free.push(memory);
        }
    }
}

/// Consecutive rows of a feature map of which the last `capacity` are kept, each with one more
/// pixel on both sides. A row is `parts` lines of `stride` pixels of `width` numbers: blocks of
/// channels, or planes of one number a pixel.
pub(super) struct Rows {
    memory: Aligned,
    parts: usize,
    stride: usize,
    numbers: usize,
    capacity: usize,
}

impl Rows {
    /// Room for `capacity` rows of `pixels` pixels in `blocks` blocks of `lanes` channels.
    pub fn blocked(
        memory: &mut Workspace,
        capacity: usize,
        pixels: usize,
        blocks: usize,
        lanes: usize,
    ) -> Self {
        Self::new(memory, capacity, blocks, pixels + 2, lanes)
    }

    /// Room for `capacity` rows of three planes. Whole vectors may be read and written past the
    /// last pixel.
    pub fn planar(memory: &mut Workspace, capacity: usize, pixels: usize) -> Self {
        Self::new(memory, capacity, 3, Self::planar_stride(pixels), 1)
    }

    /// No rows, to stand in for others.
    pub fn none() -> Self {
        let memory = Aligned::zeros(0);
        Self { memory, parts: 0, stride: 0, numbers: 0, capacity: 0 }
    }

    /// Numbers of one plane of a row: the pixels filled up to whole vectors, and one more line for
    /// the surrounding pixels.
    pub fn planar_stride(pixels: usize) -> usize {
        pixels.next_multiple_of(LINE) + LINE
    }

    fn new(
        memory: &mut Workspace,
        capacity: usize,
        parts: usize,
        stride: usize,
        numbers: usize,
    ) -> Self {
        let memory = memory.take(capacity * parts * stride * numbers);
        Self { memory, parts, stride, numbers, capacity }
    }

    /// Gives the memory back.
    pub fn release(self, workspace: &mut Workspace) {
        workspace.give(self.memory);
    }

    /// Numbers from one part to the next.
    pub fn part(&self) -> usize {
        self.stride * self.numbers
    }

    /// Offset of pixel 0 of the first part of `row`.
    fn offset(&self, row: usize) -> usize {
        (row % self.capacity) * self.parts * self.part() + self.numbers
    }

    /// Pixel 0 of the first part of `row`; one more pixel may be read on its left and, after the
    /// last pixel, on its right.
    pub fn row(&self, row: usize) -> *const f32 {
        let (memory, offset) = (self.memory.as_slice(), self.offset(row));
        assert!(offset < memory.len(), "row {row} of a feature map");
        memory.as_ptr().wrapping_add(offset)
    }

    /// As [`Rows::row`], for writing by several threads, each to pixels of its own.
    pub fn shared(&mut self) -> SharedRows {
        SharedRows {
            start: self.memory.as_mut_slice().as_mut_ptr(),
            row: self.parts * self.part(),
            part: self.part(),
            capacity: self.capacity,
            first: self.numbers,
        }
    }

    /// Part `part` of `row`: its pixels with the surrounding ones.
    pub fn part_mut(&mut self, row: usize, part: usize) -> &mut [f32] {
        let (start, length) = (self.offset(row) - self.numbers + part * self.part(), self.part());
        &mut self.memory.as_mut_slice()[start..start + length]
    }

    /// All rows of a map whose rows are all kept, with their surrounding pixels.
    pub fn all_rows_mut(&mut self) -> impl IndexedParallelIterator<Item = &mut [f32]> {
        let row = self.parts * self.part();
        self.memory.as_mut_slice().par_chunks_mut(row.max(1))
    }

    /// Part `part` of `row`: its pixels with the surrounding ones.
    pub fn surrounded(&self, row: usize, part: usize) -> &[f32] {
        let start = self.offset(row) - self.numbers + part * self.part();
        &self.memory.as_slice()[start..start + self.part()]
    }

    /// Part `part` of `row`, from pixel 0.
    pub fn pixels(&self, row: usize, part: usize) -> &[f32] {
        let start = self.offset(row) + part * self.part();
        &self.memory.as_slice()[start..start + self.part() - self.numbers]
    }

    /// Mirrors the pixels beside the edge onto the surrounding pixels of `row`.
    pub fn reflect(&mut self, row: usize, pixels: usize) {
        self.surround(row, pixels, Some(1), Some(pixels - 2));
    }

    /// Fills the surrounding pixels of `row` from the given pixels, or with zeros.
    pub fn surround(
        &mut self,
        row: usize,
        pixels: usize,
        left: Option<usize>,
        right: Option<usize>,
    ) {
        let numbers = self.numbers;
        for part in 0..self.parts {
            let line = self.part_mut(row, part);
            for (at, from) in [(0, left), (pixels + 1, right)] {
                match from {
                    Some(from) => {
                        let from = (from + 1) * numbers;
                        line.copy_within(from..from + numbers, at * numbers);
                    }
                    None => line[at * numbers..(at + 1) * numbers].fill(0.0),
                }
            }
        }
    }
}

/// Rows that several threads write, each to pixels of its own.
#[derive(Clone, Copy)]
pub(super) struct SharedRows {
    start: *mut f32,
    row: usize,
    part: usize,
    capacity: usize,
    first: usize,
}

// SAFETY: a plain address; who writes through it promises not to overlap (see `SharedRows::row`).
unsafe impl Send for SharedRows {}
// SAFETY: as above.
unsafe impl Sync for SharedRows {}

impl SharedRows {
    /// Pixel 0 of part `part` of `row`. Writes through it must not overlap with another thread's
    /// and must end before the rows do.
    pub fn row(&self, row: usize, part: usize) -> *mut f32 {
        // Wrapping, for the address alone is no promise yet; it lies inside the allocation for
        // every row and part that exists.
        self.start.wrapping_add((row % self.capacity) * self.row + part * self.part + self.first)
    }

    /// Numbers from one part to the next.
    pub fn part(&self) -> usize {
        self.part
    }
}

//! The backbone in strips of rows.

use std::ops::Range;

use rayon::prelude::*;

use super::kernel::{Finish, Step};
use super::memory::{Rows, SharedRows, Workspace};
use super::packed::{Packed, Source, Target, Weights};
use super::planar::{Planes, ToPlanes};
use super::pool::pool_row;
use super::schedule::{Reach, Schedule, StageShape};
use super::sum::sum_row;
use super::upsampled::{UpsampledConv, around, surrounding};
use crate::simd::Instructions;
use crate::{RowSource, ops::conv::LEAKY_SLOPE};

/// Levels of the U-Net; each halves the sides of the one before.
pub(super) const LEVELS: usize = 5;
/// Pixels of one job; small enough that its rows stay in the second-level cache, large enough that
/// reading the weights costs little.
const JOB_PIXELS: usize = 2048;
/// Pixels of a strip at the finest level, for the same two reasons.
const STRIP_PIXELS: usize = 1 << 16;
const LEAKY: Finish = Finish::Leaky(LEAKY_SLOPE as f32);

/// What a stage computes.
enum Layer {
    /// Reads the photograph.
    Photograph,
    Convolution(Packed, Finish),
    /// From the photograph's planes.
    FirstConvolution(Packed),
    Pool,
    /// Of two maps of one size.
    Sum,
    /// 1x1, its result surrounded as the doubling needs it.
    Projection(Packed),
    Upsampled(Box<UpsampledConv>),
    ToPlanes(ToPlanes),
    /// Three planes, plus the photograph.
    Residual(Box<Planes>),
}

struct Stage {
    layer: Layer,
    level: usize,
    channels: usize,
    sources: Vec<usize>,
}

/// The layers in the order of computation; the photograph first, the backbone's image last.
pub(super) struct Backbone {
    stages: Vec<Stage>,
    /// The stages that hold the encoder's levels; none where there is no encoder.
    pub encoder: Vec<usize>,
}

/// Weights of the backbone's convolutions.
pub(super) struct BackboneWeights {
    pub body: BodyWeights,
    pub last: [Weights; 2],
}

/// Weights of what makes the finest feature map.
#[expect(clippy::large_enum_variant, reason = "a model has one")]
pub(super) enum BodyWeights {
    Unet(UnetWeights),
    ResNet { first: Weights, blocks: Vec<[Weights; 2]> },
}

/// Weights of the U-Net's convolutions.
pub(super) struct UnetWeights {
    pub down: [[Weights; 2]; LEVELS],
    /// From the finest level: what is applied before doubling to that level.
    pub projections: [Weights; LEVELS - 1],
    /// From the finest level.
    pub up: [[Weights; 2]; LEVELS - 1],
}

/// Stages as they are added.
struct Stages {
    stages: Vec<Stage>,
    lanes: usize,
}

impl Stages {
    fn push(&mut self, layer: Layer, level: usize, channels: usize, sources: &[usize]) -> usize {
        self.stages.push(Stage { layer, level, channels, sources: sources.to_vec() });
        self.stages.len() - 1
    }

    fn packed(&self, weights: &Weights) -> Packed {
        Packed::new(weights, self.lanes, false)
    }

    fn convolution(
        &mut self,
        weights: &Weights,
        finish: Finish,
        level: usize,
        source: usize,
    ) -> usize {
        let layer = Layer::Convolution(self.packed(weights), finish);
        self.push(layer, level, weights.outputs, &[source])
    }

    fn first_convolution(&mut self, weights: &Weights, photograph: usize) -> usize {
        let layer = Layer::FirstConvolution(Packed::new(weights, self.lanes, true));
        self.push(layer, 0, weights.outputs, &[photograph])
    }

    /// Returns the finest feature map and the encoder's levels.
    fn unet(&mut self, weights: &UnetWeights, photograph: usize) -> (usize, Vec<usize>) {
        let mut encoder: Vec<usize> = Vec::with_capacity(LEVELS);
        for (level, [first, second]) in weights.down.iter().enumerate() {
            let inner = match encoder.last() {
                None => self.first_convolution(first, photograph),
                Some(&above) => {
                    let pooled = self.push(Layer::Pool, level, first.inputs, &[above]);
                    self.convolution(first, LEAKY, level, pooled)
                }
            };
            encoder.push(self.convolution(second, LEAKY, level, inner));
        }
        let mut current = encoder[LEVELS - 1];
        for level in (0..LEVELS - 1).rev() {
            let projection = &weights.projections[level];
            let [first, second] = &weights.up[level];
            let layer = Layer::Projection(self.packed(projection));
            let low = self.push(layer, level + 1, projection.outputs, &[current]);
            let layer = UpsampledConv::new(first, projection.outputs, self.lanes);
            let layer = Layer::Upsampled(Box::new(layer));
            let joined = self.push(layer, level, first.outputs, &[low, encoder[level]]);
            current = self.convolution(second, LEAKY, level, joined);
        }
        (current, encoder)
    }

    /// Returns the last feature map.
    fn resnet(&mut self, first: &Weights, blocks: &[[Weights; 2]], photograph: usize) -> usize {
        let mut current = self.first_convolution(first, photograph);
        for [inner, outer] in blocks {
            let middle = self.convolution(inner, LEAKY, 0, current);
            let change = self.convolution(outer, Finish::Linear, 0, middle);
            current = self.push(Layer::Sum, 0, outer.outputs, &[change, current]);
        }
        current
    }
}

impl Backbone {
    pub fn new(weights: &BackboneWeights, lanes: usize) -> Self {
        let mut stages = Stages { stages: Vec::new(), lanes };
        let photograph = stages.push(Layer::Photograph, 0, 3, &[]);
        let (finest, encoder) = match &weights.body {
            BodyWeights::Unet(unet) => stages.unet(unet, photograph),
            BodyWeights::ResNet { first, blocks } => {
                (stages.resnet(first, blocks, photograph), Vec::new())
            }
        };
        let layer = Layer::ToPlanes(ToPlanes::new(&weights.last[0], lanes, LEAKY_SLOPE as f32));
        let planes = stages.push(layer, 0, 3, &[finest]);
        let layer = Layer::Residual(Box::new(Planes::new(&weights.last[1], LEAKY_SLOPE as f32)));
        stages.push(layer, 0, 3, &[planes, photograph]);
        Self { stages: stages.stages, encoder }
    }

    /// Runs the backbone on a photograph of that height and width. `taps` are more readers: of an
    /// encoder stage, the rows each of its own rows needs, and what to do with them. Returns the
    /// backbone's image.
    pub fn run(
        &self,
        (instructions, workspace): (Instructions, &mut Workspace),
        photograph: &dyn RowSource,
        (height, width): (usize, usize),
        strip: Option<usize>,
        taps: &mut [Tap<'_>],
        progress: &mut dyn FnMut(f64),
    ) -> Rows {
        let strip = strip.unwrap_or_else(|| strip_rows(width));
        let mut schedule = Schedule::new(self.shapes(height, taps), strip);
        let capacities = schedule.capacities();
        let mut rows = self.allocate(workspace, &capacities, width, instructions.lanes::<f32>());
        while !schedule.finished() {
            for (index, stage) in self.stages.iter().enumerate() {
                let range = schedule.advance(index);
                if !range.is_empty() {
                    let mut target = std::mem::replace(&mut rows[index], Rows::none());
                    let shape = (height >> stage.level, width >> stage.level);
                    stage.run(instructions, photograph, &rows, &mut target, shape, range.clone());
                    for y in range {
                        stage.surround(&mut target, y, width);
                    }
                    rows[index] = target;
                }
            }
            for (index, tap) in taps.iter_mut().enumerate() {
                for row in schedule.advance(self.stages.len() + index) {
                    (tap.take)(row, &rows[tap.stage]);
                }
            }
            progress(schedule.share());
        }
        let image = rows.pop().unwrap_or_else(Rows::none);
        rows.into_iter().for_each(|rows| rows.release(workspace));
        image
    }

    fn shapes(&self, height: usize, taps: &[Tap<'_>]) -> Vec<StageShape> {
        let last = self.stages.len() - 1;
        let mut shapes: Vec<StageShape> = self
            .stages
            .iter()
            .enumerate()
            .map(|(index, stage)| StageShape {
                height: height >> stage.level,
                sources: stage.sources.iter().copied().zip(stage.layer.reaches()).collect(),
                keep: index == last,
            })
            .collect();
        shapes.extend(taps.iter().map(|tap| StageShape {
            height: tap.rows.len(),
            sources: vec![(tap.stage, Reach::Resized(tap.rows.clone()))],
            keep: false,
        }));
        shapes
    }

    fn allocate(
        &self,
        workspace: &mut Workspace,
        capacities: &[usize],
        width: usize,
        lanes: usize,
    ) -> Vec<Rows> {
        let stages = self.stages.iter().zip(capacities);
        let rows = stages.map(|(stage, &capacity)| {
            if stage.is_planar() {
                return Rows::planar(workspace, capacity, width);
            }
            let blocks = stage.channels.div_ceil(lanes);
            Rows::blocked(workspace, capacity, width >> stage.level, blocks, lanes)
        });
        rows.collect()
    }

    /// Bytes [`Backbone::run`] needs.
    pub fn bytes(
        &self,
        (height, width): (usize, usize),
        strip: Option<usize>,
        lanes: usize,
    ) -> u64 {
        let strip = strip.unwrap_or_else(|| strip_rows(width));
        let capacities = Schedule::new(self.shapes(height, &[]), strip).capacities();
        let numbers = self.stages.iter().zip(capacities).map(|(stage, capacity)| {
            let numbers = if stage.is_planar() {
                3 * Rows::planar_stride(width)
            } else {
                ((width >> stage.level) + 2) * stage.channels.next_multiple_of(lanes)
            };
            (capacity * numbers) as u64
        });
        numbers.sum::<u64>() * size_of::<f32>() as u64
    }
}

/// Rows of a strip: whole rows of the coarsest level.
fn strip_rows(width: usize) -> usize {
    (STRIP_PIXELS / width).max(1).next_multiple_of(1 << (LEVELS - 1))
}

/// Takes one row of a tap, given the rows of its source.
pub(super) type Take<'a> = Box<dyn FnMut(usize, &Rows) + 'a>;

/// A reader of an encoder stage.
pub(super) struct Tap<'a> {
    pub stage: usize,
    /// First and last source row of each of its rows.
    pub rows: Vec<(usize, usize)>,
    /// Called once for each of its rows, in order.
    pub take: Take<'a>,
}

impl Layer {
    fn reaches(&self) -> Vec<Reach> {
        match self {
            Layer::Photograph => vec![],
            Layer::Convolution(..) | Layer::FirstConvolution(_) | Layer::ToPlanes(_) => {
                vec![Reach::Around]
            }
            Layer::Pool => vec![Reach::Pair],
            Layer::Sum => vec![Reach::Same, Reach::Same],
            Layer::Projection(_) => vec![Reach::Same],
            Layer::Upsampled(_) => vec![Reach::Doubled, Reach::Around],
            Layer::Residual(_) => vec![Reach::Around, Reach::Same],
        }
    }
}

impl Stage {
    fn is_planar(&self) -> bool {
        matches!(self.layer, Layer::Photograph | Layer::ToPlanes(_) | Layer::Residual(_))
    }

    /// Computes rows `range` of this stage, of `shape`.
    fn run(
        &self,
        instructions: Instructions,
        photograph: &dyn RowSource,
        rows: &[Rows],
        target: &mut Rows,
        (height, width): (usize, usize),
        range: Range<usize>,
    ) {
        let lanes = instructions.lanes::<f32>();
        let shared = target.shared();
        let source = |index: usize| &rows[self.sources[index]];
        match &self.layer {
            Layer::Photograph => read(photograph, shared, range, width),
            Layer::Convolution(packed, _) | Layer::FirstConvolution(packed) => {
                let (planar, finish) = match self.layer {
                    Layer::Convolution(_, finish) => (false, finish),
                    _ => (true, LEAKY),
                };
                let input = source(0);
                let back = if planar { 1 } else { lanes };
                let source = Source {
                    row: |y, tap| input.row(around(y, tap, height)).wrapping_sub(back),
                    block: input.part(),
                    channel: if planar { input.part() } else { 1 },
                    step: if planar { Step::Planar } else { Step::One },
                };
                convolve(instructions, packed, source, shared, width, range.clone(), finish);
            }
            Layer::Projection(packed) => {
                let input = source(0);
                let source = Source {
                    row: |y, _| input.row(y),
                    block: input.part(),
                    channel: 1,
                    step: Step::One,
                };
                convolve(
                    instructions,
                    packed,
                    source,
                    shared,
                    width,
                    range.clone(),
                    Finish::Linear,
                );
            }
            Layer::Pool => in_jobs(range.clone(), width, 1, |rows, _| {
                for y in rows {
                    // SAFETY: the two source rows are complete, and this row is this job's alone.
                    unsafe {
                        pool_row(instructions, source(0), y, shared, self.channels, width);
                    }
                }
            }),
            Layer::Sum => in_jobs(range.clone(), width, 1, |rows, _| {
                for y in rows {
                    // SAFETY: the two source rows are complete, and this row is this job's alone.
                    unsafe {
                        let sources = (source(0), source(1));
                        sum_row(instructions, sources, y, shared, self.channels, width);
                    }
                }
            }),
            Layer::Upsampled(convolution) => {
                in_jobs(range.clone(), width, convolution.groups(), |rows, group| {
                    // SAFETY: the schedule gives rows only when their sources are complete, and
                    // no two jobs have the same rows of the same group.
                    unsafe {
                        convolution.run(
                            instructions,
                            (source(0), source(1)),
                            shared,
                            (height, width),
                            (rows, group),
                            LEAKY,
                        );
                    }
                });
            }
            Layer::ToPlanes(layer) => in_jobs(range.clone(), width, 1, |rows, _| {
                for y in rows {
                    let rows = [0, 1, 2].map(|tap| around(y, tap, height));
                    // SAFETY: as above.
                    unsafe { layer.run(instructions, source(0), rows, (shared, y), width) };
                }
            }),
            Layer::Residual(layer) => in_jobs(range.clone(), width, 1, |rows, _| {
                for y in rows {
                    let rows = [0, 1, 2].map(|tap| around(y, tap, height));
                    let out = [0, 1, 2].map(|plane| shared.row(y, plane));
                    let add = Some((source(1), y));
                    // SAFETY: as above.
                    unsafe { layer.run(instructions, source(0), rows, add, out, width) };
                }
            }),
        }
    }

    /// Fills the pixels beside row `y` as the reader of this stage needs them; the photograph is
    /// `width` pixels wide.
    fn surround(&self, target: &mut Rows, y: usize, width: usize) {
        let own = width >> self.level;
        if let Layer::Projection(_) = self.layer {
            let (left, right) = surrounding(own, width >> (self.level - 1));
            target.surround(y, own, left, right);
        } else {
            target.reflect(y, own);
        }
    }
}

/// All input passes of a convolution for rows `range`, `width` output pixels each, in parallel. The
/// source's rows that the taps reach must be complete and surrounded.
pub(super) fn convolve<F: Fn(usize, usize) -> *const f32 + Sync>(
    instructions: Instructions,
    packed: &Packed,
    source: Source<F>,
    shared: SharedRows,
    width: usize,
    range: Range<usize>,
    finish: Finish,
) {
    let target = Target { rows: shared, first: 0, step: 1, pixels: width };
    in_jobs(range, width, packed.groups(), |rows, group| {
        for pass in 0..packed.passes() {
            let finish = if pass + 1 == packed.passes() { finish } else { Finish::Open };
            for y in rows.clone() {
                // SAFETY: as in `Stage::run`.
                unsafe {
                    packed.add_pass(
                        instructions,
                        (group, pass, y),
                        &source,
                        target,
                        pass == 0,
                        finish,
                    );
                }
            }
        }
    });
}

/// Calls `job` for every group and every few rows of `range`, on the rayon pool.
pub(super) fn in_jobs(
    range: Range<usize>,
    width: usize,
    groups: usize,
    job: impl Fn(Range<usize>, usize) + Sync,
) {
    // Four jobs a thread, so that none waits long for the last, but none below a row.
    let even = range.len() * groups / (4 * rayon::current_num_threads());
    let rows = (JOB_PIXELS / width).clamp(1, even.max(1));
    let chunks = range.len().div_ceil(rows);
    (0..chunks * groups).into_par_iter().for_each(|index| {
        let start = range.start + index / groups * rows;
        job(start..(start + rows).min(range.end), index % groups);
    });
}

/// Reads rows `range` of the photograph.
fn read(photograph: &dyn RowSource, target: SharedRows, range: Range<usize>, width: usize) {
    in_jobs(range, width, 1, |rows, _| {
        for y in rows {
            // SAFETY: this row is this job's alone, and each of its planes holds `width` pixels.
            let planes = [0, 1, 2].map(|plane| unsafe {
                std::slice::from_raw_parts_mut(target.row(y, plane), width)
            });
            photograph.read_row(y, planes);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strips_have_rows_at_any_width() {
        assert_eq!([32, 512, 6000, 70_000].map(strip_rows), [2048, 128, 16, 16]);
    }
}

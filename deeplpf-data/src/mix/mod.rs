//! One set to train on, made of parts of several.
//!
//! A [`MixPlan`] says which sets, what of them is held out, how large the pictures become and what
//! is added: copies of what is rare, pairs that teach a model to leave a good photograph alone, and
//! pairs in black and white. Nothing is random: one plan and the same files give the same set.

mod error;
mod plan;

pub use error::MixError;
pub use plan::{Choice, Every, Exposed, MixPlan, Source};

use std::collections::HashSet;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use ndarray::{Array3, ArrayView3};
use rayon::prelude::*;
use serde::Serialize;

use crate::augment::ColourChange;
use crate::synthetic::crop_and_scale;
use crate::{DataError, OutputFormat, PairPaths, atomic_file, encode, layout};

/// The file of a mixed set that says how it was made. Written last: a set that has it is whole.
pub const MIX_FILE: &str = "mix.json";

/// The list of the training pairs but the over- and under-exposed ones, where there are any: to train
/// without them first.
pub const PLAIN_LIST: &str = "plain.txt";

/// From here on a pixel of an over-exposed input counts as lost, fully at 1: encoded values. Linear
/// light of 0.82 and more, the last quarter of a stop.
const LOST: f32 = 0.92;

/// How many pairs a mixed set has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MixCounts {
    /// Entries of `train.txt`.
    pub train: usize,
    /// Entries of `valid.txt`.
    pub valid: usize,
    /// Entries of `test.txt`.
    pub test: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Part {
    Train,
    Valid,
    Test,
}

/// How a pair of the mixed set is made of one of a source.
#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    /// As it is.
    Pair,
    /// The target, twice.
    Unchanged,
    /// Both in grey.
    Grey,
    /// The target, exposed otherwise by so many EV, and the target.
    Exposed(f64),
}

struct Entry {
    /// Name in the mixed set, without the number of a copy.
    id: String,
    part: Part,
    kind: Kind,
    copies: u32,
    /// Exposure and white balance, in EV, of the inputs of the second copy and those after it; or none.
    changes: Vec<[f64; 2]>,
    paths: PairPaths,
}

/// The record of one pair in [`MIX_FILE`].
#[derive(Serialize)]
struct Record<'a> {
    id: &'a str,
    of: &'a str,
    part: Part,
    kind: Kind,
    copies: u32,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    exposure_and_white_balance_ev: &'a [[f64; 2]],
    width: usize,
    height: usize,
}

#[derive(Serialize)]
struct MixFile<'a> {
    plan: &'a MixPlan,
    counts: MixCounts,
    pairs: Vec<Record<'a>>,
}

/// Makes the set of `plan` in `out`, which must be new or empty: `input/` and `target/` with 8-bit
/// PNGs, `train.txt`, `valid.txt`, `test.txt`, [`PLAIN_LIST`] and [`MIX_FILE`]. Folders of the plan are looked for in
/// `from`. `progress` is told how many of how many pairs are done.
///
/// Pictures whose shorter side is longer than `short_edge` are scaled to it by Lanczos' filter on the
/// sRGB-encoded values; input and target alike.
///
/// # Errors
/// A plan that cannot be followed, a set or picture that cannot be read, a folder with something in
/// it, a disk without room.
pub fn mix(
    plan: &MixPlan,
    from: &Path,
    out: &Path,
    progress: &(dyn Fn(usize, usize) + Sync),
) -> Result<MixCounts, MixError> {
    plan.check()?;
    let mut entries = Vec::new();
    for source in &plan.source {
        entries.extend(entries_of(source, from)?);
    }
    let mut seen = HashSet::new();
    for name in entries.iter().flat_map(Entry::names) {
        if let Some(id) = seen.replace(name) {
            return Err(MixError::SameId { id });
        }
    }
    drop(seen);
    make_empty(out)?;
    let done = AtomicUsize::new(0);
    progress(0, entries.len());
    let sizes = entries
        .par_iter()
        .map(|entry| {
            let size = entry.write(plan, out)?;
            progress(1 + done.fetch_add(1, Ordering::Relaxed), entries.len());
            Ok(size)
        })
        .collect::<Result<Vec<_>, MixError>>()?;
    let mut counts = MixCounts::default();
    for (part, list, count) in [
        (Part::Train, "train.txt", &mut counts.train),
        (Part::Valid, "valid.txt", &mut counts.valid),
        (Part::Test, "test.txt", &mut counts.test),
    ] {
        let of_part = entries.iter().filter(|entry| entry.part == part);
        let names: Vec<String> = of_part.flat_map(Entry::names).collect();
        *count = names.len();
        if !names.is_empty() {
            write(&out.join(list), &(names.join("\n") + "\n"))?;
        }
    }
    if entries.iter().any(Entry::is_exposed) {
        let plain = entries.iter().filter(|entry| entry.part == Part::Train && !entry.is_exposed());
        let names: Vec<String> = plain.flat_map(Entry::names).collect();
        write(&out.join(PLAIN_LIST), &(names.join("\n") + "\n"))?;
    }
    let pairs = entries.iter().zip(&sizes).map(|(entry, &(width, height))| {
        let &Entry { ref id, part, kind, copies, ref changes, ref paths } = entry;
        let exposure_and_white_balance_ev = changes;
        let of = &paths.id;
        Record { id, of, part, kind, copies, exposure_and_white_balance_ev, width, height }
    });
    let file = MixFile { plan, counts, pairs: pairs.collect() };
    let path = out.join(MIX_FILE);
    let json = serde_json::to_string_pretty(&file)
        .map_err(|error| MixError::Write { path: path.clone(), source: error.into() })?;
    write(&path, &(json + "\n"))?;
    Ok(counts)
}

impl Entry {
    fn is_exposed(&self) -> bool {
        matches!(self.kind, Kind::Exposed(_))
    }

    /// The ids of its copies.
    fn names(&self) -> impl Iterator<Item = String> + '_ {
        (1..=self.copies).map(|copy| match copy {
            1 => self.id.clone(),
            // In front: of `a0001-2` FiveK's layouts see the id alone, and copies would be one pair.
            _ => format!("copy{copy}-{}", self.id),
        })
    }

    /// Writes its pictures; width and height of them.
    fn write(&self, plan: &MixPlan, out: &Path) -> Result<(usize, usize), MixError> {
        let pair = self.paths.load()?;
        let mut target = scaled(pair.target.view(), plan);
        let mut input = match self.kind {
            Kind::Unchanged | Kind::Exposed(_) => target.clone(),
            Kind::Pair | Kind::Grey => scaled(pair.input.view(), plan),
        };
        if let Kind::Exposed(ev) = self.kind {
            input = changed(&input, [ev, 0.0]);
            if ev > 0.0 {
                target = changed(&target, [ev / 2.0, 0.0]);
                keep_white(&input, &mut target);
            }
        }
        if self.kind == Kind::Grey {
            (input, target) = (grey(input.view()), grey(target.view()));
        }
        let changes = std::iter::once(None).chain(self.changes.iter().map(Some));
        for (name, change) in self.names().zip(changes.chain(std::iter::repeat(None))) {
            let changed = change.map(|&change| changed(&input, change));
            let input = changed.as_ref().unwrap_or(&input);
            for (folder, pixels) in [("input", input), ("target", &target)] {
                let path = out.join(folder).join(format!("{name}.png"));
                encode(path, pixels.view(), OutputFormat::Png, None)?;
            }
        }
        let (_, height, width) = target.dim();
        Ok((width, height))
    }
}

/// The pairs of one source and what is made of them.
fn entries_of(source: &Source, from: &Path) -> Result<Vec<Entry>, MixError> {
    let folder = source.folder.as_str();
    let target = Some(source.target.as_str()).filter(|name| !name.is_empty());
    let (_, found) = layout::open(from.join(folder), target)?;
    found.require_complete()?;
    let ids: Vec<&str> = found.ids().collect();
    let (test, valid) = (source.test.among(folder, &ids)?, source.valid.among(folder, &ids)?);
    let entry = |at: usize, part, kind, copies, start: &str| Entry {
        id: format!("{start}{}{}", source.prefix, ids[at]),
        part,
        kind,
        copies,
        changes: Vec::new(),
        paths: found.pairs[at].clone(),
    };
    let mut entries = Vec::new();
    let mut train = Vec::new();
    for at in 0..ids.len() {
        let (part, copies) = match (test[at], valid[at]) {
            (true, _) => (Part::Test, 1),
            (false, true) => (Part::Valid, 1),
            (false, false) => (Part::Train, source.copies),
        };
        let mut entry = entry(at, part, Kind::Pair, copies, "");
        if part == Part::Train {
            entry.changes = changes(source, train.len());
            train.push(at);
        }
        entries.push(entry);
    }
    for (asked, what, kind, start) in [
        (source.unchanged, "unchanged", Kind::Unchanged, "unchanged-"),
        (source.grey, "grey", Kind::Grey, "grey-"),
    ] {
        let there = train.len();
        if asked > there {
            return Err(MixError::TooFew { folder: folder.into(), what, asked, there });
        }
        let evenly = (0..asked).map(|k| train[k * there / asked]);
        entries.extend(evenly.map(|at| entry(at, Part::Train, kind, 1, start)));
    }
    for (exposed, what, sign, start) in [
        (source.over_exposed, "over-exposed", 1.0, "over-"),
        (source.under_exposed, "under-exposed", -1.0, "under-"),
    ] {
        let (asked, there) = (exposed.pairs, train.len());
        if asked > there {
            return Err(MixError::TooFew { folder: folder.into(), what, asked, there });
        }
        entries.extend((0..asked).map(|k| {
            // Exposures of neighbours, which a set may hold several pictures of, differ.
            let place = (0.5 + GOLDEN * k as f64).fract();
            let kind = Kind::Exposed(sign * exposed.most * place);
            entry(train[k * there / asked], Part::Train, kind, 1, start)
        }));
    }
    Ok(entries)
}

/// The golden ratio's fraction: its multiples, modulo 1, fill the interval evenly.
const GOLDEN: f64 = 0.618_033_988_749_894_8;

/// The picture at another exposure and white balance, in EV.
fn changed(pixels: &Array3<f32>, [exposure, white_balance]: [f64; 2]) -> Array3<f32> {
    let mut pixels = pixels.clone();
    if let Some(input) = pixels.as_slice_mut() {
        ColourChange::of_input(exposure, white_balance).apply(input, &mut []);
    }
    pixels
}

/// Makes the target white where every channel of the input is: `t + (1 - t) w`, with `w` the smooth
/// step of the input's least channel from [`LOST`] to 1.
fn keep_white(input: &Array3<f32>, target: &mut Array3<f32>) {
    let (_, height, width) = input.dim();
    for (y, x) in (0..height).flat_map(|y| (0..width).map(move |x| (y, x))) {
        let least = (0..3).map(|c| input[[c, y, x]]).fold(f32::INFINITY, f32::min);
        let at = ((least - LOST) / (1.0 - LOST)).clamp(0.0, 1.0);
        let weight = at * at * (3.0 - 2.0 * at);
        for c in 0..3 {
            let value = &mut target[[c, y, x]];
            *value += (1.0 - *value) * weight;
        }
    }
}

/// Exposure and white balance of the copies of the `place`-th training pair, in EV: points of a
/// sequence that fills the square evenly however many there are (Roberts' R2, of the plastic number).
fn changes(source: &Source, place: usize) -> Vec<[f64; 2]> {
    const STEPS: [f64; 2] = [0.754_877_666_246_692_8, 0.569_840_290_998_053_3];
    let most = [source.exposure, source.white_balance];
    if most == [0.0; 2] {
        return Vec::new();
    }
    let others = source.copies as usize - 1;
    let point = |at: usize| {
        std::array::from_fn(|k| most[k] * (2.0 * (0.5 + STEPS[k] * at as f64).fract() - 1.0))
    };
    (0..others).map(|copy| point(place * others + copy)).collect()
}

fn scaled(pixels: ArrayView3<'_, f32>, plan: &MixPlan) -> Array3<f32> {
    let (_, height, width) = pixels.dim();
    let (from_width, from_height) = (width as u32, height as u32);
    let size = size([from_width, from_height], plan);
    crop_and_scale(pixels, [0, 0, from_width, from_height], size)
}

/// Width and height of the scaled picture.
fn size(size: [u32; 2], plan: &MixPlan) -> [u32; 2] {
    let short = size[0].min(size[1]);
    if plan.short_edge == 0 || short <= plan.short_edge {
        return size;
    }
    let scale = f64::from(plan.short_edge) / f64::from(short);
    let step = f64::from(plan.multiple_of);
    // At least one step, for the short edge is no shorter.
    size.map(|side| ((f64::from(side) * scale / step).round() * step).max(step) as u32)
}

/// Rec. 709's luma of the encoded values, in all three channels.
fn grey(pixels: ArrayView3<'_, f32>) -> Array3<f32> {
    let (channels, height, width) = pixels.dim();
    Array3::from_shape_fn((channels, height, width), |(_, y, x)| {
        0.2126 * pixels[[0, y, x]] + 0.7152 * pixels[[1, y, x]] + 0.0722 * pixels[[2, y, x]]
    })
}

fn make_empty(out: &Path) -> Result<(), MixError> {
    let make = |path: &Path| {
        let failed = |source| MixError::Write { path: path.to_path_buf(), source };
        std::fs::create_dir_all(path).map_err(failed)
    };
    make(out)?;
    let mut entries = std::fs::read_dir(out).map_err(|error| DataError::read(out, error))?;
    if entries.next().is_some() {
        return Err(DataError::NotEmpty { path: out.to_path_buf() }.into());
    }
    make(&out.join("input"))?;
    make(&out.join("target"))
}

fn write(path: &Path, text: &str) -> Result<(), MixError> {
    atomic_file::write(path, text.as_bytes())
        .map_err(|source| MixError::Write { path: path.to_path_buf(), source })
}

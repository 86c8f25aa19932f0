//! Every kernel against the CPU's operations, on a GPU or on the stand-in driver of the CUDA tests.
//!
//! Planes are taken from the middle of larger memory whose rest is NaN: what is read beside them shows in
//! the result, what is written beside them shows in the rest.

mod composition;
mod filters;
mod heads;
mod images;
mod layers;
mod loss;
mod optimizer;
mod resize;
#[path = "../../../../tests/cuda/stand_in.rs"]
mod stand_in;

use std::sync::{Mutex, MutexGuard, OnceLock};

use super::*;
use crate::{
    cuda::{
        memory::{Buffer, Plain},
        span::Activation,
    },
    random::{Generator, Purpose},
};

/// A device with its kernels and scratch memory; one test at a time uses it.
struct Bench {
    device: Device,
    kernels: Kernels,
    sums: Buffer,
    counters: Buffer,
}

/// `None`, and a line that says so, where there is neither a GPU nor a C++ compiler.
fn bench() -> Option<MutexGuard<'static, Bench>> {
    static BENCH: OnceLock<Mutex<Bench>> = OnceLock::new();
    if !stand_in::ready() {
        return None;
    }
    let bench = BENCH.get_or_init(|| {
        let device = Device::open(0).unwrap();
        let kernels = Kernels::new(&device).unwrap_or_else(|error| panic!("{error}"));
        let sums = Buffer::zeros(&device, "sums", 4 * SCRATCH_SUMS).unwrap();
        let counters = Buffer::zeros(&device, "counters", 4 * SCRATCH_COUNTERS).unwrap();
        Mutex::new(Bench { device, kernels, sums, counters })
    });
    Some(bench.lock().unwrap_or_else(|poisoned| poisoned.into_inner()))
}

impl Bench {
    fn stream(&self) -> &CudaStream {
        self.device.stream()
    }

    fn scratch(&self) -> Scratch {
        Scratch {
            sums: Span::new(self.sums.pointer(), SCRATCH_SUMS),
            counters: Span::new(self.counters.pointer(), SCRATCH_COUNTERS),
        }
    }

    /// Numbers in GPU memory.
    fn numbers<T: Plain>(&self, values: &[T]) -> Numbers<T> {
        let buffer = Buffer::holding(&self.device, "a test", values).unwrap();
        Numbers { buffer, len: values.len(), element: std::marker::PhantomData }
    }

    /// Planes of these values (NCHW), with a border that mirrors the inside, a channel of NaN before and
    /// after those of each image.
    fn planes<T: Number>(&self, values: &[f32], shape: [usize; 4], border: usize) -> Held<T> {
        let [batch, channels, height, width] = shape;
        assert_eq!(values.len(), shape.iter().product::<usize>());
        let (rows, columns) = (height + 2 * border, width + 2 * border);
        let mut all = vec![T::of(f32::NAN); batch * (channels + 2) * rows * columns];
        for (index, plane) in all.chunks_exact_mut(rows * columns).enumerate() {
            let (image, channel) = (index / (channels + 2), index % (channels + 2));
            if channel == 0 || channel > channels {
                continue;
            }
            let from = &values[(image * channels + channel - 1) * height * width..];
            for (at, value) in plane.iter_mut().enumerate() {
                let y = mirrored(at / columns, border, height);
                *value = T::of(from[y * width + mirrored(at % columns, border, width)]);
            }
        }
        let memory = Buffer::holding(&self.device, "planes of a test", &all).unwrap();
        Held { memory, shape, border, element: std::marker::PhantomData }
    }

    /// Planes to be written: NaN everywhere.
    fn empty<T: Number>(&self, shape: [usize; 4], border: usize) -> Held<T> {
        self.planes(&vec![f32::NAN; shape.iter().product()], shape, border)
    }
}

/// Position `index` of a bordered line, inside.
fn mirrored(index: usize, border: usize, size: usize) -> usize {
    let inside = index as isize - border as isize;
    let last = size as isize - 1;
    (if inside < 0 {
        -inside
    } else if inside > last {
        2 * last - inside
    } else {
        inside
    }) as usize
}

/// What planes are tested in.
trait Number: Activation + Plain {
    /// Relative size of one rounding to this type.
    const ROUNDING: f32;
    fn of(value: f32) -> Self;
    fn wide(self) -> f32;
}

impl Number for f32 {
    const ROUNDING: f32 = 6e-8;
    fn of(value: f32) -> Self {
        value
    }
    fn wide(self) -> f32 {
        self
    }
}

impl Number for half::bf16 {
    const ROUNDING: f32 = 4e-3;
    fn of(value: f32) -> Self {
        Self::from_f32(value)
    }
    fn wide(self) -> f32 {
        self.to_f32()
    }
}

/// Numbers in GPU memory.
struct Numbers<T> {
    buffer: Buffer,
    len: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Plain> Numbers<T> {
    fn span(&self) -> Span<T> {
        Span::new(self.buffer.pointer(), self.len)
    }

    fn read(&self) -> Vec<T> {
        let mut values = vec![T::default(); self.len];
        self.buffer.read(0, &mut values).unwrap();
        values
    }
}

/// Planes in GPU memory.
struct Held<T> {
    memory: Buffer,
    shape: [usize; 4],
    border: usize,
    element: std::marker::PhantomData<T>,
}

impl<T: Number> Held<T> {
    fn planes(&self) -> Planes<T> {
        let [batch, channels, height, width] = self.shape;
        let shape = [batch, channels + 2, height, width];
        let data = Span::new(self.memory.pointer(), Planes::<T>::len_of(shape, self.border));
        Planes::new(data, shape, self.border).unwrap().channels(1, channels).unwrap()
    }

    /// Everything, the channels of NaN checked and taken away; borders included.
    fn with_border(&self) -> Vec<f32> {
        let [batch, channels, height, width] = self.shape;
        let plane = (height + 2 * self.border) * (width + 2 * self.border);
        let mut all = vec![T::default(); batch * (channels + 2) * plane];
        self.memory.read(0, &mut all).unwrap();
        let mut inside = Vec::new();
        for (index, plane) in all.chunks_exact(plane).enumerate() {
            let channel = index % (channels + 2);
            if channel == 0 || channel > channels {
                assert!(plane.iter().all(|v| v.wide().is_nan()), "written beside the planes");
            } else {
                inside.extend(plane.iter().map(|v| v.wide()));
            }
        }
        inside
    }

    /// The values inside; that the border mirrors them is checked.
    fn read(&self) -> Vec<f32> {
        let [batch, channels, height, width] = self.shape;
        let (rows, columns) = (height + 2 * self.border, width + 2 * self.border);
        let all = self.with_border();
        let at = |plane: usize, y: usize, x: usize| {
            all[(plane * rows + y + self.border) * columns + x + self.border]
        };
        for plane in 0..batch * channels {
            for place in 0..rows * columns {
                let y = mirrored(place / columns, self.border, height);
                let x = mirrored(place % columns, self.border, width);
                let found = all[plane * rows * columns + place];
                let inside = at(plane, y, x);
                let same = found == inside || found.is_nan() && inside.is_nan();
                assert!(same, "border at {place}: {found}, not {inside}");
            }
        }
        let planes = 0..batch * channels;
        planes
            .flat_map(|plane| (0..height * width).map(move |i| (plane, i / width, i % width)))
            .map(|(plane, y, x)| at(plane, y, x))
            .collect()
    }
}

/// Uniform numbers on [low, high), the same for the same seed.
fn random(seed: u64, count: usize, low: f32, high: f32) -> Vec<f32> {
    let mut generator = Generator::new(seed, Purpose::Synthesis, 0);
    (0..count).map(|_| low + (high - low) * generator.uniform() as f32).collect()
}

/// The largest difference, which must be at most `bound` times the largest expected size (at least 1e-3).
#[track_caller]
fn close(what: &str, found: &[f32], expected: &[f32], bound: f32) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let largest = expected.iter().fold(1e-3f32, |m, v| m.max(v.abs()));
    for (at, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!(
            (f - e).abs() <= bound * largest,
            "{what}[{at}]: {f}, expected {e} (largest {largest})"
        );
    }
}

/// Border-included gradient folded into the inside, in double precision.
fn folded(
    gradient: &[f32],
    [batch, channels, height, width]: [usize; 4],
    border: usize,
) -> Vec<f32> {
    let (rows, columns) = (height + 2 * border, width + 2 * border);
    let mut out = vec![0.0f64; batch * channels * height * width];
    for (at, value) in gradient.iter().enumerate() {
        let (plane, place) = (at / (rows * columns), at % (rows * columns));
        let y = mirrored(place / columns, border, height);
        let x = mirrored(place % columns, border, width);
        out[(plane * height + y) * width + x] += f64::from(*value);
    }
    out.into_iter().map(|v| v as f32).collect()
}

impl Bench {
    /// A gradient whose border has values of its own; also its folded values.
    fn bordered<T: Number>(
        &self,
        seed: u64,
        shape: [usize; 4],
        border: usize,
    ) -> (Held<T>, Vec<f32>) {
        let [batch, channels, height, width] = shape;
        let bordered = [batch, channels, height + 2 * border, width + 2 * border];
        let count = bordered.iter().product();
        let values: Vec<f32> =
            random(seed, count, -1.0, 1.0).iter().map(|v| T::of(*v).wide()).collect();
        let held = self.planes::<T>(&values, bordered, 0);
        (Held { shape, border, ..held }, folded(&values, shape, border))
    }
}

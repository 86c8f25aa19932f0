//! Sums of bilinearly resized tensors, and the transpose, on plain memory: what [`super::resize`] does
//! tensor by tensor, in one pass over the result.

use rayon::prelude::*;

use super::{
    Element,
    resize::{Tap, taps},
};

/// Some channels of a tensor to be resized.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a, T> {
    /// (N, `of`, height, width).
    pub values: &'a [T],
    pub of: usize,
    /// The first channel that is meant.
    pub first: usize,
    pub height: usize,
    pub width: usize,
}

/// `out`, (N, channels, `size`), is the sum of the sources, each resized to `size`. Of sources of one
/// size, put side by side, the sum is resized.
pub(crate) fn resize_sum_into<T: Element>(
    sources: &[Source<'_, T>],
    channels: usize,
    size: (usize, usize),
    out: &mut [T],
) {
    let runs: Vec<&[Source<'_, T>]> =
        sources.chunk_by(|a, b| (a.height, a.width) == (b.height, b.width)).collect();
    let taps: Vec<[Vec<Tap<T>>; 2]> =
        runs.iter().map(|run| [taps(run[0].height, size.0), taps(run[0].width, size.1)]).collect();
    out.par_chunks_mut(size.0 * size.1).enumerate().for_each(|(index, out)| {
        let (image, channel) = (index / channels, index % channels);
        for (number, (run, [rows, columns])) in runs.iter().zip(&taps).enumerate() {
            let width = run[0].width;
            let mut line = vec![T::zero(); width];
            for (out, row) in out.chunks_exact_mut(size.1).zip(rows) {
                let (up, down) = (T::one() - row.weight, row.weight);
                for (place, source) in run.iter().enumerate() {
                    let plane = image * source.of + source.first + channel;
                    let values = &source.values[plane * source.height * width..];
                    let (low, high) = (&values[row.low * width..], &values[row.high * width..]);
                    let pairs = low[..width].iter().zip(&high[..width]);
                    for (to, (&low, &high)) in line.iter_mut().zip(pairs) {
                        let value = up * low + down * high;
                        *to = if place == 0 { value } else { *to + value };
                    }
                }
                for (to, column) in out.iter_mut().zip(columns) {
                    let (low, high) = (line[column.low], line[column.high]);
                    let value = low + column.weight * (high - low);
                    *to = if number == 0 { value } else { *to + value };
                }
            }
        }
    });
}

/// For every input position of one axis: the first output that reads it, and the weights of that and
/// the next ones.
struct Readers<T> {
    first: Vec<usize>,
    /// Where the weights of each position begin, and where the last ones end.
    begin: Vec<usize>,
    weights: Vec<T>,
}

impl<T: Element> Readers<T> {
    fn new(size_in: usize, size_out: usize) -> Self {
        let mut lists: Vec<Vec<(usize, T)>> = vec![Vec::new(); size_in];
        for (output, tap) in taps::<T>(size_in, size_out).iter().enumerate() {
            for (input, weight) in [(tap.low, T::one() - tap.weight), (tap.high, tap.weight)] {
                match lists[input].last_mut() {
                    Some(last) if last.0 == output => last.1 += weight,
                    _ => lists[input].push((output, weight)),
                }
            }
        }
        let mut readers = Self { first: Vec::new(), begin: vec![0], weights: Vec::new() };
        for list in lists {
            // Outputs that read one input follow each other.
            readers.first.push(list.first().map_or(0, |&(output, _)| output));
            readers.weights.extend(list.iter().map(|&(_, weight)| weight));
            readers.begin.push(readers.weights.len());
        }
        readers
    }

    /// The first reader of `position`, and the weights of all.
    fn of(&self, position: usize) -> (usize, &[T]) {
        (self.first[position], &self.weights[self.begin[position]..self.begin[position + 1]])
    }
}

/// The gradient of [`resize_sum_into`] to a source of `to` = (height, width): (N, C, to), C being all
/// channels of `parts`, each (N, channels, `size`), side by side. Added with `add`, else stored.
pub(crate) fn resize_transpose<T: Element>(
    parts: &[(&[T], usize)],
    size: (usize, usize),
    to: (usize, usize),
    add: bool,
    out: &mut [T],
) {
    let (rows, columns) = (Readers::<T>::new(to.0, size.0), Readers::<T>::new(to.1, size.1));
    let channels: usize = parts.iter().map(|(_, channels)| channels).sum();
    let plane = size.0 * size.1;
    out.par_chunks_mut(to.0 * to.1).enumerate().for_each_init(
        || vec![T::zero(); size.1],
        |line, (index, out)| {
            let (image, mut channel) = (index / channels, index % channels);
            let mut part = 0;
            while channel >= parts[part].1 {
                channel -= parts[part].1;
                part += 1;
            }
            let gradient = &parts[part].0[(image * parts[part].1 + channel) * plane..][..plane];
            for (y, out) in out.chunks_exact_mut(to.1).enumerate() {
                let (first, weights) = rows.of(y);
                line.fill(T::zero());
                for (&weight, gradient) in
                    weights.iter().zip(gradient[first * size.1..].chunks(size.1))
                {
                    line.iter_mut().zip(gradient).for_each(|(to, &from)| *to += weight * from);
                }
                for (x, to) in out.iter_mut().enumerate() {
                    let (first, weights) = columns.of(x);
                    let mut sum = if add { *to } else { T::zero() };
                    for (&weight, &from) in weights.iter().zip(&line[first..]) {
                        sum += weight * from;
                    }
                    *to = sum;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::*;
    use crate::ops::resize::bilinear_resize;

    /// Both passes against the differentiable operation, up and down, odd and equal sizes.
    #[test]
    fn sums_and_transposes_of_resizes() {
        let noise = |count: usize, seed: f64| -> Vec<f64> {
            (0..count).map(|i| ((i as f64 + seed) * 12.9898).sin()).collect()
        };
        for ((h, w), (oh, ow)) in
            [((5, 7), (11, 9)), ((13, 8), (4, 5)), ((6, 6), (6, 6)), ((2, 40), (9, 3))]
        {
            let (batch, channels) = (2, 3);
            let a = noise(batch * 4 * h * w, 0.0);
            let b = noise(batch * channels * h * w, 1.0);
            let half = noise(batch * channels * (h / 2) * (w / 2), 2.0);
            let var = |values: &[f64], c: usize, h: usize, w: usize| {
                Var::from_slice(values, (batch, c, h, w), &Device::Cpu).unwrap()
            };
            let (va, vb) = (var(&a, 4, h, w), var(&b, channels, h, w));
            let vc = var(&half, channels, h / 2, w / 2);
            let resize = |x: &Tensor| bilinear_resize(&x.contiguous().unwrap(), oh, ow).unwrap();
            let expected = (resize(&va.narrow(1, 1, channels).unwrap()) + resize(&vb)).unwrap();
            let expected = (expected + resize(&vc)).unwrap();
            let mut out = vec![f64::NAN; batch * channels * oh * ow];
            let sources = [
                Source { values: &a, of: 4, first: 1, height: h, width: w },
                Source { values: &b, of: channels, first: 0, height: h, width: w },
                Source { values: &half, of: channels, first: 0, height: h / 2, width: w / 2 },
            ];
            resize_sum_into(&sources, channels, (oh, ow), &mut out);
            let close = |ours: &[f64], theirs: &Tensor| {
                let theirs: Vec<f64> = theirs.flatten_all().unwrap().to_vec1().unwrap();
                assert_eq!(ours.len(), theirs.len());
                let far = ours.iter().zip(&theirs).find(|(a, b)| {
                    let error = (*a - *b).abs();
                    error.is_nan() || error > 1e-13
                });
                assert!(far.is_none(), "{h}x{w} to {oh}x{ow}: {far:?}");
            };
            close(&out, &expected);
            let g = noise(out.len(), 3.0);
            let weight = Tensor::from_slice(&g, (batch, channels, oh, ow), &Device::Cpu).unwrap();
            let gradients = (expected * weight).unwrap().sum_all().unwrap().backward().unwrap();
            for (variable, (h, w)) in [(&vb, (h, w)), (&vc, (h / 2, w / 2))] {
                let expected = gradients.get(variable).unwrap();
                let mut out = vec![f64::NAN; batch * channels * h * w];
                resize_transpose(&[(&g, channels)], (oh, ow), (h, w), false, &mut out);
                close(&out, expected);
                resize_transpose(&[(&g, channels)], (oh, ow), (h, w), true, &mut out);
                close(&out, &(expected * 2.0).unwrap());
            }
        }
    }
}

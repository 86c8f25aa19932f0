//! The input of a convolution: one tensor, or an upsampled tensor beside a skip connection.

use crate::ops::Element;

/// One tensor of channels.
#[derive(Clone, Copy)]
pub(crate) struct Part<'a, T> {
    /// (N, `of`, height, width).
    pub values: &'a [T],
    pub channels: usize,
    /// Channels of an image in `values`, and the first of them that is meant.
    pub of: usize,
    pub first: usize,
    /// Whether each pixel is seen as 2x2 pixels, with a row of zeros below and a column of zeros at
    /// the left where the whole is larger than twice the part.
    pub doubled: bool,
}

impl<'a, T> Part<'a, T> {
    /// All `channels` channels of (N, channels, height, width).
    pub fn whole(values: &'a [T], channels: usize) -> Self {
        Self { values, channels, of: channels, first: 0, doubled: false }
    }
}

/// All channels of the input, each of `height` x `width` pixels as the convolution sees them.
pub(crate) struct Planes<'a, T> {
    pub parts: Vec<Part<'a, T>>,
    pub height: usize,
    pub width: usize,
}

impl<T: Element> Planes<'_, T> {
    /// Writes row `y` of a channel of an image.
    pub fn copy_row(&self, image: usize, channel: usize, y: usize, to: &mut [T]) {
        let mut channel = channel;
        for part in &self.parts {
            if channel >= part.channels {
                channel -= part.channels;
                continue;
            }
            let plane = image * part.of + part.first + channel;
            if !part.doubled {
                let start = (plane * self.height + y) * self.width;
                to.copy_from_slice(&part.values[start..start + self.width]);
                return;
            }
            let (height, width) = (self.height / 2, self.width / 2);
            if y / 2 >= height {
                to.fill(T::zero());
                return;
            }
            let source = &part.values[(plane * height + y / 2) * width..][..width];
            let left = self.width % 2;
            to[..left].fill(T::zero());
            for (pair, &value) in to[left..].chunks_exact_mut(2).zip(source) {
                pair[0] = value;
                pair[1] = value;
            }
            return;
        }
    }
}

/// Gradients of the parts of an input, written from several threads.
pub(crate) struct PlaneGradients<T> {
    parts: Vec<PartGradient<T>>,
    height: usize,
    width: usize,
}

/// Where the gradient of one part goes: (N, channels, height, width).
pub(crate) struct PartGradient<T> {
    values: *mut T,
    channels: usize,
    doubled: bool,
    /// Whether it is added to what is there.
    add: bool,
}

impl<T: Element> PartGradient<T> {
    /// Stores the gradient into `values`, or adds it.
    pub fn new(values: &mut [T], channels: usize, add: bool) -> Self {
        Self { values: values.as_mut_ptr(), channels, doubled: false, add }
    }

    /// Of a part whose pixels are doubled.
    pub fn doubled(values: &mut [T], channels: usize) -> Self {
        Self { values: values.as_mut_ptr(), channels, doubled: true, add: false }
    }
}

// SAFETY: threads write rows of their own; see `add_row`.
unsafe impl<T: Send> Sync for PlaneGradients<T> {}

impl<T: Element> PlaneGradients<T> {
    /// For `planes`, into `values`, one vector with room for each part; what is in them does not
    /// matter.
    pub fn of_planes(planes: &Planes<'_, T>, values: &mut [Vec<T>]) -> Self {
        let parts = planes.parts.iter().zip(values);
        let parts = parts
            .map(|(part, values)| {
                assert!(values.capacity() >= part.values.len() && part.of == part.channels);
                let (channels, doubled) = (part.channels, part.doubled);
                PartGradient { values: values.as_mut_ptr(), channels, doubled, add: false }
            })
            .collect();
        Self { parts, height: planes.height, width: planes.width }
    }

    /// Of parts of an input of `height` x `width` pixels.
    ///
    /// # Safety
    /// Each part has room for all images, and outlives the value returned.
    pub unsafe fn of_parts(parts: Vec<PartGradient<T>>, height: usize, width: usize) -> Self {
        Self { parts, height, width }
    }

    /// Stores (with `fresh`) or adds the gradient of row `y` of a channel of an image. Of a doubled
    /// part, an even row that is fresh stores and the odd row after it adds.
    ///
    /// # Safety
    /// No other thread may write row `y` meanwhile, nor the other row of a doubled pair. A row must
    /// be fresh once before it is added to, an even one before the odd one after it.
    pub unsafe fn add_row(
        &self,
        (image, channel): (usize, usize),
        y: usize,
        gradient: &[T],
        fresh: bool,
    ) {
        let mut channel = channel;
        for part in &self.parts {
            if channel >= part.channels {
                channel -= part.channels;
                continue;
            }
            let plane = image * part.channels + channel;
            if !part.doubled {
                // SAFETY: inside the part, whose size was checked; and the caller's promise.
                let to = unsafe { part.values.add((plane * self.height + y) * self.width) };
                if fresh && !part.add {
                    // SAFETY: as above.
                    unsafe { std::ptr::copy_nonoverlapping(gradient.as_ptr(), to, self.width) };
                } else {
                    // SAFETY: as above; the row has been stored before.
                    let to = unsafe { std::slice::from_raw_parts_mut(to, self.width) };
                    to.iter_mut().zip(gradient).for_each(|(to, &from)| *to += from);
                }
                return;
            }
            let (height, width) = (self.height / 2, self.width / 2);
            if y / 2 >= height {
                return;
            }
            let pairs = gradient[self.width % 2..].chunks_exact(2);
            // SAFETY: as above.
            let to = unsafe { part.values.add((plane * height + y / 2) * width) };
            for (x, pair) in pairs.enumerate() {
                // SAFETY: as above; `width` pairs.
                unsafe {
                    let to = to.add(x);
                    let sum = pair[0] + pair[1];
                    to.write(if fresh && y.is_multiple_of(2) { sum } else { *to + sum });
                }
            }
            return;
        }
    }
}

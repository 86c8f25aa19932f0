//! Typed ranges of GPU memory, as kernels see them.

use std::marker::PhantomData;

use super::CudaError;

/// A number kernels read and write. Sealed by the crate.
pub(crate) trait Scalar: Copy + Send + Sync + 'static {}

impl Scalar for u8 {}
impl Scalar for u16 {}
impl Scalar for u32 {}
impl Scalar for f32 {}
impl Scalar for f64 {}
impl Scalar for half::bf16 {}

/// What activations and their gradients are stored as: `f32`, or `bf16` in that precision.
pub(crate) trait Activation: Scalar {
    /// The kernel for this type, of its names for `f32` and for `bf16`.
    fn kernel(names: [&'static str; 2]) -> &'static str;
}

impl Activation for f32 {
    fn kernel([name, _]: [&'static str; 2]) -> &'static str {
        name
    }
}

impl Activation for half::bf16 {
    fn kernel([_, name]: [&'static str; 2]) -> &'static str {
        name
    }
}

/// A range of GPU memory: an address and a number of elements. Copies name the same memory; whoever
/// owns the memory keeps it alive while work on it is queued.
pub(crate) struct Span<T> {
    address: u64,
    len: usize,
    element: PhantomData<fn() -> T>,
}

impl<T> Clone for Span<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Span<T> {}

impl<T> std::fmt::Debug for Span<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} elements at {:#x}", self.len, self.address)
    }
}

impl<T> Span<T> {
    /// `len` elements at `address`, which must be aligned to the element.
    pub const fn new(address: u64, len: usize) -> Self {
        Self { address, len, element: PhantomData }
    }

    /// Of the first element.
    pub const fn address(self) -> u64 {
        self.address
    }

    /// Number of elements.
    pub const fn len(self) -> usize {
        self.len
    }

    /// `len` elements from number `first` on.
    ///
    /// # Errors
    /// They are not all within the span.
    pub fn part(self, first: usize, len: usize) -> Result<Self, CudaError> {
        match first.checked_add(len) {
            Some(end) if end <= self.len => {
                Ok(Self::new(self.address + (first * size_of::<T>()) as u64, len))
            }
            _ => Err(CudaError::Argument {
                what: "part of a span",
                found: format!("{len} elements from number {first} on"),
                expected: format!("a part of {} elements", self.len),
            }),
        }
    }

    /// The same memory as elements of another type, as many as fit.
    pub const fn cast<U>(self) -> Span<U> {
        Span::new(self.address, self.len * size_of::<T>() / size_of::<U>())
    }
}

/// Some channels of a batch of images, NCHW, in memory that may hold more channels and a border.
///
/// Image n begins `image_stride` elements after image n - 1; a channel is
/// (height + 2 border) x (width + 2 border) elements, row by row. A kernel that writes planes with a
/// border of one fills it with the reflection of the inside (without repeating the edge), so that
/// the next convolution needs no padding; one that reads a *gradient* with a border adds the
/// border's gradients to the pixels they mirror.
#[derive(Debug)]
pub(crate) struct Planes<T> {
    /// From the first channel's (border's) first element to the last image's end.
    data: Span<T>,
    /// Images.
    pub batch: usize,
    /// Channels of each.
    pub channels: usize,
    /// Rows without the border.
    pub height: usize,
    /// Columns without the border.
    pub width: usize,
    /// Pixels of border on each side: 0 or 1.
    pub border: usize,
    image_stride: usize,
}

impl<T> Clone for Planes<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Planes<T> {}

impl<T> Planes<T> {
    /// Elements that planes of this `[batch, channels, height, width]` and border need.
    pub const fn len_of([batch, channels, height, width]: [usize; 4], border: usize) -> usize {
        batch * channels * (height + 2 * border) * (width + 2 * border)
    }

    /// From the start of `data`.
    ///
    /// # Errors
    /// `data` has fewer elements than [`Planes::len_of`], a size is zero, a side is above a million
    /// or a border is not 0 or 1 (or has nothing to mirror).
    pub fn new(data: Span<T>, shape: [usize; 4], border: usize) -> Result<Self, CudaError> {
        let [batch, channels, height, width] = shape;
        let sides = height.min(width) > border && height.max(width) <= 1_000_000;
        let area = height.saturating_mul(width) <= i32::MAX as usize / 4;
        let fits = batch > 0 && channels > 0 && sides && area && border <= 1;
        if !fits || data.len() < Self::len_of(shape, border) {
            return Err(CudaError::Argument {
                what: "planes",
                found: format!("{} elements as {shape:?} with a border of {border}", data.len()),
                expected: "sizes of NCHW that fit into the memory".into(),
            });
        }
        let image_stride = Self::len_of(shape, border) / batch;
        let data = data.part(0, image_stride * batch)?;
        Ok(Self { data, batch, channels, height, width, border, image_stride })
    }

    /// `count` channels from number `first` on, of every image.
    ///
    /// # Errors
    /// There are not so many.
    pub fn channels(self, first: usize, count: usize) -> Result<Self, CudaError> {
        if count == 0 || first.checked_add(count).is_none_or(|end| end > self.channels) {
            return Err(CudaError::Argument {
                what: "channels",
                found: format!("{count} from number {first} on"),
                expected: format!("some of {}", self.channels),
            });
        }
        let skipped = first * self.plane_len();
        let data = self.data.part(skipped, self.data.len() - skipped)?;
        Ok(Self { data, channels: count, ..self })
    }

    /// The memory from the first channel's first element on.
    pub const fn data(self) -> Span<T> {
        self.data
    }

    /// `[batch, channels, height, width]` without the border.
    pub const fn shape(self) -> [usize; 4] {
        [self.batch, self.channels, self.height, self.width]
    }

    /// Elements from one image to the next.
    pub const fn image_stride(self) -> usize {
        self.image_stride
    }

    /// Elements of one channel with its border.
    pub const fn plane_len(self) -> usize {
        (self.height + 2 * self.border) * (self.width + 2 * self.border)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_planes() {
        let data = Span::<f32>::new(0x1000, 2 * 5 * 6 * 7);
        let all = Planes::new(data, [2, 5, 4, 5], 1).unwrap();
        assert_eq!((all.image_stride(), all.plane_len()), (210, 42));
        let part = all.channels(3, 2).unwrap();
        assert_eq!(part.shape(), [2, 2, 4, 5]);
        assert_eq!(part.data().address(), 0x1000 + 4 * 126);
        assert_eq!(part.image_stride(), 210);
        assert!(all.channels(3, 3).is_err());
        assert!(Planes::new(data, [2, 5, 6, 7], 1).is_err());
        assert!(Planes::new(Span::<f32>::new(0, 9), [1, 1, 1, 1], 1).is_err());
    }

    #[test]
    fn spans_stay_inside() {
        let span = Span::<f64>::new(64, 8);
        assert_eq!(span.part(2, 6).unwrap().address(), 80);
        assert!(span.part(2, 7).is_err() && span.part(usize::MAX, 2).is_err());
        assert_eq!(span.cast::<u8>().len(), 64);
    }
}

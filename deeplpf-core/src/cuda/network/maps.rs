//! Feature maps of a program that is being recorded.

use std::marker::PhantomData;

use super::super::{
    conv::Side,
    error::CudaError,
    span::{Planes, Scalar},
    tape::{Address, Tape, Tensor},
};

/// Some channels of a batch of feature maps: [`Planes`] whose address is not known yet.
#[derive(Debug)]
pub(in super::super) struct Maps<T> {
    /// The whole tensor, of which these are some channels.
    pub tensor: Tensor,
    /// Images.
    pub batch: usize,
    /// Channels of the whole tensor.
    whole: usize,
    first: usize,
    /// Channels.
    pub channels: usize,
    /// Rows without the border.
    pub height: usize,
    /// Columns without the border.
    pub width: usize,
    /// Pixels of reflected border on each side.
    pub border: usize,
    element: PhantomData<fn() -> T>,
}

impl<T> Clone for Maps<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Maps<T> {}

impl<T: Scalar> Maps<T> {
    /// Of `[batch, channels, height, width]`, in the arena.
    pub fn new(tape: &mut Tape, shape: [usize; 4], border: usize) -> Self {
        let bytes = Planes::<T>::len_of(shape, border) * size_of::<T>();
        Self::of(tape.tensor(bytes), shape, border)
    }

    /// Of `tensor`, which is exactly as large.
    pub fn of(tensor: Tensor, shape: [usize; 4], border: usize) -> Self {
        let [batch, channels, height, width] = shape;
        Self {
            tensor,
            batch,
            whole: channels,
            first: 0,
            channels,
            height,
            width,
            border,
            element: PhantomData,
        }
    }

    /// `count` channels from number `first` on.
    ///
    /// Panics if there are not so many: a mistake in the program's construction.
    pub fn channels(self, first: usize, count: usize) -> Self {
        assert!(first + count <= self.channels, "channels {first}+{count} of {}", self.channels);
        Self { first: self.first + first, channels: count, ..self }
    }

    /// `[batch, channels, height, width]` without the border.
    pub fn shape(self) -> [usize; 4] {
        [self.batch, self.channels, self.height, self.width]
    }

    /// New maps of the same layout: the gradient of these.
    pub fn like(self, tape: &mut Tape) -> Self {
        let tensor = tape.tensor(self.tensor.bytes());
        Self { tensor, ..self }
    }

    fn plane(self) -> usize {
        (self.height + 2 * self.border) * (self.width + 2 * self.border)
    }

    /// As cuDNN sees it: the border is a part of the image.
    pub fn side(self) -> Side {
        Side {
            channels: self.channels,
            height: self.height + 2 * self.border,
            width: self.width + 2 * self.border,
            batch_stride: self.whole * self.plane(),
        }
    }

    /// Where the first channel lies, given where the whole tensor does.
    pub fn pointer(self, whole: Address) -> u64 {
        whole.pointer() + (self.first * self.plane() * size_of::<T>()) as u64
    }

    /// As kernels see it, given where the whole tensor lies.
    pub fn planes(self, whole: Address) -> Result<Planes<T>, CudaError> {
        let shape = [self.batch, self.whole, self.height, self.width];
        Planes::new(whole.span(), shape, self.border)?.channels(self.first, self.channels)
    }
}

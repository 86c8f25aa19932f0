//! Memory that is used again: buffers are allocated once and handed from layer to layer and from step
//! to step, never cleared.

use std::ops::{Deref, DerefMut};

use crate::ops::Element;

/// Numbers of unspecified value until they are written.
#[derive(Clone, Debug, Default)]
pub(super) struct Buffer<T> {
    values: Vec<T>,
    length: usize,
}

impl<T> Deref for Buffer<T> {
    type Target = [T];
    fn deref(&self) -> &[T] {
        &self.values[..self.length]
    }
}

impl<T> DerefMut for Buffer<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        &mut self.values[..self.length]
    }
}

/// Buffers that nobody uses at the moment.
#[derive(Clone, Default)]
pub(super) struct Pool<T> {
    free: Vec<Vec<T>>,
    allocated: usize,
}

impl<T: Element> Pool<T> {
    /// A buffer of `length` numbers: the smallest free one that is large enough. Where there is none,
    /// a new one takes the place of the largest, so that changing sizes do not pile up.
    pub fn take(&mut self, length: usize) -> Buffer<T> {
        let fitting = self.free.iter().enumerate().filter(|(_, free)| free.len() >= length);
        let values = match fitting.min_by_key(|(_, free)| free.len()) {
            Some((place, _)) => self.free.swap_remove(place),
            None => {
                let largest = self.free.iter().enumerate().max_by_key(|(_, free)| free.len());
                if let Some((place, _)) = largest {
                    self.allocated -= self.free.swap_remove(place).len();
                }
                self.allocated += length;
                vec![T::zero(); length]
            }
        };
        Buffer { values, length }
    }

    /// Takes a buffer back.
    pub fn give(&mut self, buffer: Buffer<T>) {
        if !buffer.values.is_empty() {
            self.free.push(buffer.values);
        }
    }

    /// Bytes of all buffers, used or free.
    pub fn bytes(&self) -> usize {
        self.allocated * size_of::<T>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again() {
        let mut pool = Pool::<f32>::default();
        let (large, small) = (pool.take(100), pool.take(10));
        pool.give(large);
        pool.give(small);
        assert_eq!(pool.take(8).values.len(), 10, "the smallest that fits");
        assert_eq!(pool.take(50).values.len(), 100);
        assert_eq!(pool.bytes(), 110 * 4);
        let mut pool = Pool::<f32>::default();
        for length in 1..100 {
            let buffer = pool.take(length);
            pool.give(buffer);
        }
        assert_eq!(pool.bytes(), 99 * 4, "growing sizes do not pile up");
    }
}

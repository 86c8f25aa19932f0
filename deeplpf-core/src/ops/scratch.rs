//! Working memory that threads keep between operations, so that blocks of a few hundred kilobytes
//! are neither allocated nor zeroed thousands of times a step.

use std::cell::RefCell;

use super::Element;

thread_local! {
    /// Doubles, because their alignment serves both element types.
    static BUFFER: RefCell<Vec<f64>> = const { RefCell::new(Vec::new()) };
}

/// Elements a cache line holds at least; blocks start on one.
const LINE: usize = 16;

/// Lends `length` elements of unspecified value, aligned to 64 bytes.
pub(super) fn with_scratch<T: Element, R>(length: usize, work: impl FnOnce(&mut [T]) -> R) -> R {
    BUFFER.with_borrow_mut(|buffer| {
        let doubles = (length * size_of::<T>()).div_ceil(size_of::<f64>()) + LINE;
        if buffer.len() < doubles {
            buffer.resize(doubles, 0.0);
        }
        // SAFETY: f32 and f64, the element types, may have any bits, and Element is implemented for
        // these two only.
        let (_, elements, _) = unsafe { buffer.align_to_mut::<T>() };
        let start = elements.as_ptr().align_offset(64);
        work(&mut elements[start..start + length])
    })
}

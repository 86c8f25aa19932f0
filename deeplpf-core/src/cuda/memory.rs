//! GPU memory: buffers, and the arena that lays a program's tensors out once.

use std::sync::Arc;

use cudarc::driver::{CudaSlice, CudaStream, DevicePtr, PinnedHostSlice, result, sys};

use super::{
    Device,
    error::{CudaError, Doing},
};

/// Start of every tensor, in bytes: what vector loads, cuDNN and full memory transactions like.
pub(super) const ALIGNMENT: usize = 256;

/// `bytes` rounded up to the next start.
pub(super) fn aligned(bytes: usize) -> usize {
    bytes.next_multiple_of(ALIGNMENT)
}

/// A piece of GPU memory that frees itself.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: CudaSlice<u8>,
    stream: Arc<CudaStream>,
    pointer: u64,
}

impl Buffer {
    /// `bytes` of zeros, for `what`.
    pub fn zeros(device: &Device, what: &str, bytes: usize) -> Result<Self, CudaError> {
        let stream = device.stream().clone();
        // The driver takes no empty requests.
        let wanted = aligned(bytes.max(1));
        // SAFETY: the memory is written before anything reads it, right below.
        let allocated = unsafe { stream.alloc::<u8>(wanted) };
        let mut bytes = match allocated {
            Ok(bytes) => bytes,
            Err(error) if error.0 == sys::CUresult::CUDA_ERROR_OUT_OF_MEMORY => {
                let (free, _) = device.memory()?;
                return Err(CudaError::OutOfMemory { what: what.into(), wanted, free });
            }
            Err(source) => return Err(CudaError::Driver { doing: "allocate memory", source }),
        };
        stream.memset_zeros(&mut bytes).doing("clear memory")?;
        let pointer = bytes.device_ptr(&stream).0;
        Ok(Self { bytes, stream, pointer })
    }

    /// Holding `values`.
    pub fn holding<T: Plain>(device: &Device, what: &str, values: &[T]) -> Result<Self, CudaError> {
        let buffer = Self::zeros(device, what, size_of_val(values))?;
        buffer.write(0, values)?;
        Ok(buffer)
    }

    /// Address on the GPU.
    pub fn pointer(&self) -> u64 {
        self.pointer
    }

    /// Size in bytes.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    fn checked<T>(&self, first: usize, count: usize) -> Result<u64, CudaError> {
        let end = (first.checked_add(count)).and_then(|end| end.checked_mul(size_of::<T>()));
        match end {
            Some(end) if end <= self.len() => Ok(self.pointer + (first * size_of::<T>()) as u64),
            _ => Err(CudaError::Argument {
                what: "range of a GPU buffer",
                found: format!("{count} values from {first}"),
                expected: format!("at most {}", self.len() / size_of::<T>()),
            }),
        }
    }

    /// Overwrites values from number `first` on, after all queued work; waits for it.
    pub fn write<T: Plain>(&self, first: usize, values: &[T]) -> Result<(), CudaError> {
        let to = self.checked::<T>(first, values.len())?;
        self.stream.context().bind_to_thread().doing("bind its context")?;
        // SAFETY: the range was checked, and the copy is waited for before `values` is free again.
        unsafe { result::memcpy_htod_async(to, values, self.stream.cu_stream()) }
            .doing("copy to its memory")?;
        self.stream.synchronize().doing("finish its queue")
    }

    /// Reads `into.len()` values from number `first` on; waits for all queued work.
    pub fn read<T: Plain>(&self, first: usize, into: &mut [T]) -> Result<(), CudaError> {
        let from = self.checked::<T>(first, into.len())?;
        self.stream.context().bind_to_thread().doing("bind its context")?;
        // SAFETY: the range was checked, and the copy is waited for before `into` is free again.
        unsafe { result::memcpy_dtoh_async(into, from, self.stream.cu_stream()) }
            .doing("copy from its memory")?;
        self.stream.synchronize().doing("finish its queue")
    }
}

/// Numbers whose bytes may be copied to and from a GPU: any bits are a value.
///
/// # Safety
/// No padding, no pointers, every bit pattern valid.
pub(super) unsafe trait Plain: Copy + Default {}
// SAFETY: integers and floats.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u16 {}
// SAFETY: as above.
unsafe impl Plain for i32 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for half::bf16 {}

/// Page-locked memory of this machine, which the GPU copies from and to while both go on working.
pub(super) struct Pinned<T> {
    memory: PinnedHostSlice<T>,
}

impl<T: Plain + cudarc::driver::DeviceRepr + cudarc::driver::ValidAsZeroBits> Pinned<T> {
    /// `count` zeros.
    pub fn zeros(device: &Device, count: usize) -> Result<Self, CudaError> {
        // Not write-combined: results are read back from it as well.
        // SAFETY: filled right below.
        let mut memory = unsafe { device.context().alloc_pinned_with_flags::<T>(count.max(1), 0) }
            .doing("lock memory for its copies")?;
        memory.as_mut_slice().doing("reach locked memory")?.fill(T::default());
        Ok(Self { memory })
    }

    /// What it holds; waits for a copy in progress.
    pub fn values(&self) -> Result<&[T], CudaError> {
        self.memory.as_slice().doing("finish a copy")
    }

    /// To be overwritten; waits for a copy in progress.
    pub fn values_mut(&mut self) -> Result<&mut [T], CudaError> {
        self.memory.as_mut_slice().doing("finish a copy")
    }

    /// Address in this machine's memory, for copies queued by hand; their end must be waited for
    /// before the values are touched.
    pub fn address(&mut self) -> Result<*mut T, CudaError> {
        self.memory.as_mut_ptr().doing("finish a copy")
    }
}

/// When a tensor is needed: from the first to the last operation that names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lifetime {
    /// Bytes.
    pub bytes: usize,
    /// First operation.
    pub first: usize,
    /// Last operation.
    pub last: usize,
}

impl Lifetime {
    fn meets(&self, other: &Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

/// Offsets such that tensors needed at the same time do not overlap, and the arena's size.
///
/// Largest first, each at the lowest place that is free while it is needed: within a few percent of
/// the largest simultaneous need for networks like this one, and deterministic.
pub(super) fn lay_out(tensors: &[Lifetime]) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..tensors.len()).collect();
    order.sort_by_key(|&index| (std::cmp::Reverse(tensors[index].bytes), index));
    let mut offsets = vec![0; tensors.len()];
    let mut placed: Vec<usize> = Vec::new();
    let mut size = 0;
    for index in order {
        let tensor = &tensors[index];
        let mut taken: Vec<(usize, usize)> = placed
            .iter()
            .filter(|&&other| tensors[other].meets(tensor))
            .map(|&other| (offsets[other], offsets[other] + aligned(tensors[other].bytes)))
            .collect();
        taken.sort_unstable();
        let mut offset = 0;
        for (start, end) in taken {
            if offset + aligned(tensor.bytes) <= start {
                break;
            }
            offset = offset.max(end);
        }
        offsets[index] = offset;
        size = size.max(offset + aligned(tensor.bytes));
        placed.push(index);
    }
    (offsets, size)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Generator, Purpose};

    #[test]
    fn tensors_needed_together_do_not_overlap() {
        let mut generator = Generator::new(3, Purpose::Synthesis, 0);
        let tensors: Vec<Lifetime> = (0..200)
            .map(|_| {
                let first = generator.below(100) as usize;
                let last = first + generator.below(20) as usize;
                Lifetime { bytes: 1 + generator.below(5000) as usize, first, last }
            })
            .collect();
        let (offsets, size) = lay_out(&tensors);
        for (a, first) in tensors.iter().enumerate() {
            assert_eq!(offsets[a] % ALIGNMENT, 0);
            assert!(offsets[a] + first.bytes <= size);
            for (b, second) in tensors.iter().enumerate().skip(a + 1) {
                let apart = offsets[a] + first.bytes <= offsets[b]
                    || offsets[b] + second.bytes <= offsets[a];
                assert!(apart || !first.meets(second), "{a} and {b} overlap");
            }
        }
        let most = (0..120)
            .map(|at| {
                let live = tensors.iter().filter(|t| t.first <= at && at <= t.last);
                live.map(|t| aligned(t.bytes)).sum::<usize>()
            })
            .max()
            .unwrap();
        assert!(size <= most * 5 / 4, "{size} for at least {most}");
    }
}

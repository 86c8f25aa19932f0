//! Double-buffered copies of images to the GPU: one is used while the next one is on its way.

use std::sync::Arc;

use cudarc::driver::{CudaEvent, CudaStream, result};
use rayon::prelude::*;

use super::{
    Device,
    error::{CudaError, Doing},
    memory::{Buffer, Pinned},
};

/// Numbers copied per task: enough to be worth one; training images stay on the calling thread.
const PIECE: usize = 1 << 20;

/// One of the two buffers.
struct Slot {
    pinned: Pinned<f32>,
    device: Buffer,
    /// When the copy to the GPU is done.
    arrived: Option<CudaEvent>,
    /// When the GPU has taken it over.
    taken: Option<CudaEvent>,
}

/// Page-locked and GPU memory for two uploads, and a stream of their own.
pub(super) struct Staging {
    device: Device,
    stream: Arc<CudaStream>,
    slots: Vec<Slot>,
    /// Numbers that either has room for.
    room: usize,
    next: usize,
}

impl Staging {
    pub fn new(device: &Device) -> Result<Self, CudaError> {
        let stream = device.new_stream()?;
        Ok(Self { device: device.clone(), stream, slots: Vec::new(), room: 0, next: 0 })
    }

    /// Makes room for uploads of `count` numbers.
    fn reserve(&mut self, count: usize) -> Result<(), CudaError> {
        if count <= self.room {
            return Ok(());
        }
        self.device.synchronize()?;
        self.stream.synchronize().doing("finish its copies")?;
        (self.room, self.slots) = (0, Vec::new());
        for _ in 0..2 {
            let bytes = count * size_of::<f32>();
            self.slots.push(Slot {
                pinned: Pinned::zeros(&self.device, count)?,
                device: Buffer::zeros(&self.device, "images on their way", bytes)?,
                arrived: None,
                taken: None,
            });
        }
        // The buffers were cleared on the device's stream; copies are queued on another.
        self.device.synchronize()?;
        self.room = count;
        Ok(())
    }

    /// Queues the upload of `parts`, one behind the other, and on the device's stream, as soon as they
    /// are there, their copies to the addresses beside them. Returns when `parts` have been read.
    pub fn upload(&mut self, parts: &[(&[f32], u64)]) -> Result<(), CudaError> {
        self.device.bind()?;
        let count = parts.iter().map(|(values, _)| values.len()).sum();
        self.reserve(count)?;
        self.next = 1 - self.next;
        let slot = &mut self.slots[self.next];
        if let Some(arrived) = &slot.arrived {
            arrived.synchronize().doing("finish a copy")?;
        }
        let mut pinned = slot.pinned.values_mut()?;
        for (values, _) in parts {
            let (here, rest) = pinned.split_at_mut(values.len());
            here.par_chunks_mut(PIECE)
                .zip(values.par_chunks(PIECE))
                .for_each(|(to, from)| to.copy_from_slice(from));
            pinned = rest;
        }
        if let Some(taken) = &slot.taken {
            self.stream.wait(taken).doing("wait for a copy")?;
        }
        let values = &slot.pinned.values()?[..count];
        // SAFETY: both are as large; `values` is not touched again before `arrived`.
        unsafe {
            result::memcpy_htod_async(slot.device.pointer(), values, self.stream.cu_stream())
        }
        .doing("copy to its memory")?;
        let arrived = self.stream.record_event(None).doing("record an event")?;
        let work = self.device.stream();
        work.wait(&arrived).doing("wait for a copy")?;
        let mut from = slot.device.pointer();
        for (values, to) in parts {
            let bytes = size_of_val(*values);
            // SAFETY: the caller's address has room for its part.
            unsafe { result::memcpy_dtod_async(*to, from, bytes, work.cu_stream()) }
                .doing("copy within its memory")?;
            from += bytes as u64;
        }
        slot.taken = Some(work.record_event(None).doing("record an event")?);
        slot.arrived = Some(arrived);
        Ok(())
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        // Queued copies name the buffers. An error at the end has nobody to go to.
        let _ = self.stream.synchronize();
        let _ = self.device.synchronize();
    }
}

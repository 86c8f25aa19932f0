//! The program that enhances images of one shape.

use cudarc::driver::result;
use half::bf16;

use super::{
    Device, Execution, Precision,
    error::{CudaError, Doing},
    memory::Buffer,
    network::{Backbone, Filters, HeadInput, Maps, Number, Recorder, Shared},
    tape::{Arena, Program, Tensor},
};
use crate::{MIN_SIDE, ModelConfig};

/// Enhances batches of one shape: [N, H, W].
pub(super) struct Prediction {
    program: Program,
    input: Buffer,
    output: Tensor,
    raw: Tensor,
    device: Device,
}

impl Prediction {
    /// Records the program.
    pub fn new(
        shared: &Shared,
        config: &ModelConfig,
        shape: [usize; 3],
    ) -> Result<Self, CudaError> {
        let [_, height, width] = shape;
        if height < MIN_SIDE || width < MIN_SIDE {
            return Err(CudaError::Argument {
                what: "image",
                found: format!("{width}x{height} pixels"),
                expected: format!("at least {MIN_SIDE} on each side"),
            });
        }
        match shared.precision {
            Precision::Bf16 => Self::record::<bf16>(shared, config, shape),
            Precision::Fp32 | Precision::Tf32 => Self::record::<f32>(shared, config, shape),
        }
    }

    fn record<T: Number>(
        shared: &Shared,
        config: &ModelConfig,
        [batch, height, width]: [usize; 3],
    ) -> Result<Self, CudaError> {
        let recorder = &mut Recorder::new(shared, false)?;
        let device = shared.gpu.device();
        let shape = [batch, 3, height, width];
        let bytes = shape.iter().product::<usize>() * size_of::<f32>();
        let buffer = Buffer::zeros(device, "images to enhance", bytes)?;
        let arrived = Maps::<f32>::of(recorder.tape.fixed(buffer.pointer(), bytes), shape, 0);
        let input = recorder.maps::<f32>(shape, 1);
        recorder.convert(arrived, input);
        let rounded = T::image(recorder, input);
        let heads = HeadInput::<T>::new(recorder, config, batch, None, None);
        let (seen, levels) = ((input, rounded), heads.encoder());
        let backbone = Backbone::<T>::record(recorder, config.widths, seen, &levels, None)?;
        let seen = (backbone.residual, backbone.image);
        let filters = Filters::<T>::record(recorder, config, heads, seen)?;
        let (output, raw) = (filters.output.tensor, filters.raw);
        recorder.tape.keep(output);
        recorder.tape.keep(raw);
        let program = std::mem::take(&mut recorder.tape).compile(device);
        Ok(Self { program, input: buffer, output, raw, device: device.clone() })
    }

    /// Bytes of arena it needs.
    pub fn arena_bytes(&self) -> usize {
        self.program.arena_bytes()
    }

    /// Where the images (N, 3, H, W), `count` numbers, are read from.
    pub fn input(&self, count: usize) -> Result<u64, CudaError> {
        if count * size_of::<f32>() != self.output.bytes() {
            return Err(CudaError::Argument {
                what: "images to enhance",
                found: format!("{count} numbers"),
                expected: format!("{}", self.output.bytes() / size_of::<f32>()),
            });
        }
        Ok(self.input.pointer())
    }

    /// Queues it and the copies of images and raw parameters, one behind the other, to page-locked
    /// memory with room for both.
    pub fn queue(
        &mut self,
        arena: &mut Arena,
        execution: Execution,
        back: &mut [f32],
    ) -> Result<(), CudaError> {
        self.program.run(arena, execution)?;
        let mut first = 0;
        for tensor in [self.output, self.raw] {
            let count = tensor.bytes() / size_of::<f32>();
            let to = back.get_mut(first..first + count).ok_or(CudaError::Argument {
                what: "memory for a result",
                found: "too little".into(),
                expected: format!("{count} numbers more"),
            })?;
            // SAFETY: both are as large; the caller waits before it reads.
            unsafe {
                let from = self.program.pointer(tensor);
                result::memcpy_dtoh_async(to, from, self.device.stream().cu_stream())
            }
            .doing("copy from its memory")?;
            first += count;
        }
        Ok(())
    }

    /// Runs it and waits: images (N, 3, H, W) and raw parameters (N, raw_len).
    pub fn run(
        &mut self,
        arena: &mut Arena,
        execution: Execution,
    ) -> Result<(Vec<f32>, Vec<f32>), CudaError> {
        self.program.run(arena, execution)?;
        let read = |tensor: Tensor| -> Result<Vec<f32>, CudaError> {
            let mut values = vec![0.0; tensor.bytes() / size_of::<f32>()];
            self.program.read(tensor, &mut values)?;
            Ok(values)
        };
        Ok((read(self.output)?, read(self.raw)?))
    }
}

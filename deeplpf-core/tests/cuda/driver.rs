//! The driver calls this crate builds on: memory, launches, capture, events. On the stand-in these test the
//! stand-in itself.

use std::sync::Arc;

use cudarc::{
    driver::{CudaContext, CudaStream, LaunchConfig, PushKernelArg, sys},
    nvrtc::{CompileOptions, compile_ptx_with_opts},
};

use crate::stand_in;

const KERNELS: &str = r#"
extern "C" __global__ void scale(float *values, float factor, int count) {
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    if (i < count) values[i] *= factor;
}
// Sums of blocks through shared memory and a warp.
extern "C" __global__ void __launch_bounds__(256) sums(const float *__restrict__ values, float *partials, int count) {
    __shared__ float lane_sums[8];
    int i = blockIdx.x * blockDim.x + threadIdx.x;
    float value = i < count ? values[i] : 0.0f;
    for (int d = 16; d > 0; d >>= 1) value += __shfl_down_sync(0xffffffffu, value, d);
    if (threadIdx.x % 32 == 0) lane_sums[threadIdx.x / 32] = value;
    __syncthreads();
    if (threadIdx.x < 32) {
        value = threadIdx.x < blockDim.x / 32 ? lane_sums[threadIdx.x] : 0.0f;
        for (int d = 16; d > 0; d >>= 1) value += __shfl_xor_sync(0xffffffffu, value, d);
        if (threadIdx.x == 0) partials[blockIdx.x] = value;
    }
}
extern "C" __global__ void reverse(float *values, int count) {
    extern __shared__ float copy[];
    copy[threadIdx.x] = values[threadIdx.x];
    __syncthreads();
    values[threadIdx.x] = copy[count - 1 - threadIdx.x];
}
"#;

struct Kernels {
    stream: Arc<CudaStream>,
    module: Arc<cudarc::driver::CudaModule>,
}

impl Kernels {
    fn new() -> Self {
        let context = CudaContext::new(0).unwrap();
        // SAFETY: each test uses one stream, or orders two by events of its own.
        unsafe { context.disable_event_tracking() };
        let ptx = compile_ptx_with_opts(KERNELS, CompileOptions::default()).unwrap();
        let module = context.load_module(ptx).unwrap();
        Self { stream: context.new_stream().unwrap(), module }
    }

    fn scale(&self, values: &mut cudarc::driver::CudaSlice<f32>, factor: f32) {
        let function = self.module.load_function("scale").unwrap();
        let count = values.len() as i32;
        let mut launch = self.stream.launch_builder(&function);
        launch.arg(values).arg(&factor).arg(&count);
        // SAFETY: the arguments are those of the kernel, which checks its index.
        unsafe { launch.launch(LaunchConfig::for_num_elems(count as u32)) }.unwrap();
    }
}

#[test]
fn launches_see_their_arguments_and_indices() {
    if !stand_in::ready() {
        return;
    }
    let kernels = Kernels::new();
    let host: Vec<f32> = (0..5000).map(|i| i as f32).collect();
    let mut values = kernels.stream.clone_htod(&host).unwrap();
    kernels.scale(&mut values, 0.5);
    let back = kernels.stream.clone_dtoh(&values).unwrap();
    assert!(back.iter().zip(&host).all(|(b, h)| *b == h * 0.5));
}

#[test]
fn barriers_and_shuffles_give_block_sums() {
    if !stand_in::ready() {
        return;
    }
    let kernels = Kernels::new();
    // Small integers: exact in any order.
    let host: Vec<f32> = (0..1000).map(|i| (i % 17) as f32).collect();
    let values = kernels.stream.clone_htod(&host).unwrap();
    let mut partials = kernels.stream.alloc_zeros::<f32>(4).unwrap();
    let function = kernels.module.load_function("sums").unwrap();
    let count = host.len() as i32;
    let config = LaunchConfig { grid_dim: (4, 1, 1), block_dim: (256, 1, 1), shared_mem_bytes: 0 };
    let mut launch = kernels.stream.launch_builder(&function);
    launch.arg(&values).arg(&mut partials).arg(&count);
    // SAFETY: four blocks of 256 cover the values; four partials are written.
    unsafe { launch.launch(config) }.unwrap();
    let back = kernels.stream.clone_dtoh(&partials).unwrap();
    let expected: Vec<f32> = host.chunks(256).map(|part| part.iter().sum()).collect();
    assert_eq!(back, expected);
}

#[test]
fn dynamic_shared_memory_and_launch_bounds() {
    if !stand_in::ready() {
        return;
    }
    let kernels = Kernels::new();
    let host: Vec<f32> = (0..96).map(|i| i as f32).collect();
    let mut values = kernels.stream.clone_htod(&host).unwrap();
    let function = kernels.module.load_function("reverse").unwrap();
    let config =
        LaunchConfig { grid_dim: (1, 1, 1), block_dim: (96, 1, 1), shared_mem_bytes: 96 * 4 };
    let mut launch = kernels.stream.launch_builder(&function);
    launch.arg(&mut values).arg(&96i32);
    // SAFETY: one block of as many threads as values, with room for a copy in shared memory.
    unsafe { launch.launch(config) }.unwrap();
    let back = kernels.stream.clone_dtoh(&values).unwrap();
    assert!(back.iter().rev().eq(&host));

    // More threads than the kernel's bound: refused, whatever the driver.
    let sums = kernels.module.load_function("sums").unwrap();
    let mut launch = kernels.stream.launch_builder(&sums);
    let partials = kernels.stream.alloc_zeros::<f32>(1).unwrap();
    launch.arg(&values).arg(&partials).arg(&96i32);
    let config = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (512, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the launch is refused.
    assert!(unsafe { launch.launch(config) }.is_err());
}

#[test]
fn a_captured_graph_replays_on_the_same_memory() {
    if !stand_in::ready() {
        return;
    }
    let kernels = Kernels::new();
    let mut values = kernels.stream.clone_htod(&[1.0f32; 64]).unwrap();
    kernels.stream.synchronize().unwrap();
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    kernels.stream.begin_capture(mode).unwrap();
    kernels.scale(&mut values, 2.0);
    kernels.scale(&mut values, 3.0);
    let graph = kernels.stream.end_capture(sys::CUgraphInstantiate_flags(0)).unwrap().unwrap();
    assert_eq!(kernels.stream.clone_dtoh(&values).unwrap(), [1.0; 64], "capturing runs nothing");
    for _ in 0..3 {
        graph.launch().unwrap();
    }
    assert_eq!(kernels.stream.clone_dtoh(&values).unwrap(), [216.0; 64]);
}

#[test]
fn waiting_inside_a_capture_breaks_it() {
    if !stand_in::ready() {
        return;
    }
    let kernels = Kernels::new();
    let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
    kernels.stream.begin_capture(mode).unwrap();
    assert!(kernels.stream.synchronize().is_err());
    assert!(kernels.stream.end_capture(sys::CUgraphInstantiate_flags(0)).is_err());
}

#[test]
fn two_streams_meet_through_events() {
    if !stand_in::ready() {
        return;
    }
    let kernels = Kernels::new();
    let other = kernels.stream.context().new_stream().unwrap();
    let mut pinned =
        unsafe { kernels.stream.context().alloc_pinned_with_flags::<f32>(64, 0) }.unwrap();
    pinned.as_mut_slice().unwrap().fill(4.0);
    let mut values = kernels.stream.alloc_zeros::<f32>(64).unwrap();
    let zeroed = kernels.stream.record_event(None).unwrap();
    other.wait(&zeroed).unwrap();
    other.memcpy_htod(&pinned, &mut values).unwrap();
    let copied = other.record_event(None).unwrap();
    kernels.stream.wait(&copied).unwrap();
    kernels.scale(&mut values, 2.0);
    assert_eq!(kernels.stream.clone_dtoh(&values).unwrap(), [8.0; 64]);
}

#[test]
fn a_source_error_comes_back_with_its_line() {
    if !stand_in::ready() {
        return;
    }
    let source = "extern \"C\" __global__ void wrong(float *x) {\n    x[0] = nonsense;\n}\n";
    let error = compile_ptx_with_opts(source, CompileOptions::default()).unwrap_err();
    let text = format!("{error:?}");
    assert!(text.contains("nonsense"), "{text}");
}

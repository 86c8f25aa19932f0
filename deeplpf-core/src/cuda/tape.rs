//! A static program of launches for one shape.
//!
//! Operations are recorded once with the tensors they touch; [`Tape::compile`] lays the tensors out in
//! one arena, those that are never needed at the same time over each other, and binds the addresses.
//! After that nothing changes: the program runs launch by launch or as one captured CUDA graph, with
//! the same bits.

use std::sync::Arc;

use cudarc::driver::{CudaGraph, sys};

use super::{
    Device,
    error::{CudaError, Doing},
    memory::{Buffer, Lifetime, lay_out},
    span::Span,
};

/// How a program runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Execution {
    /// Launch by launch.
    Eager,
    /// As one CUDA graph, captured once; the same bits in less time.
    #[default]
    Graph,
}

/// A tensor of a program: an address once the program is compiled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tensor {
    slot: usize,
    /// Bytes from the start of the slot.
    offset: usize,
    /// Bytes from there that may be touched.
    bytes: usize,
}

impl Tensor {
    /// The part from byte `offset` on, `bytes` long.
    ///
    /// Panics if that is not inside: a mistake in the program's construction.
    pub fn part(self, offset: usize, bytes: usize) -> Self {
        assert!(offset + bytes <= self.bytes, "part {offset}+{bytes} of {} bytes", self.bytes);
        Self { slot: self.slot, offset: self.offset + offset, bytes }
    }

    /// Size in bytes.
    pub fn bytes(self) -> usize {
        self.bytes
    }
}

/// Where a tensor lies, at run time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Address {
    pointer: u64,
    bytes: usize,
}

impl Address {
    /// As numbers of type `T`.
    pub fn span<T>(self) -> Span<T> {
        Span::new(self.pointer, self.bytes / size_of::<T>())
    }

    /// For libraries.
    pub fn pointer(self) -> u64 {
        self.pointer
    }
}

enum Place {
    Arena { lifetime: Option<Lifetime>, bytes: usize },
    Fixed { pointer: u64 },
}

type Launch = Box<dyn Fn(&[Address]) -> Result<(), CudaError> + Send + Sync>;

struct Operation {
    name: &'static str,
    tensors: Vec<Tensor>,
    launch: Launch,
}

/// A program being recorded.
#[derive(Default)]
pub(super) struct Tape {
    slots: Vec<Place>,
    operations: Vec<Operation>,
}

impl Tape {
    /// A tensor in the arena.
    pub fn tensor(&mut self, bytes: usize) -> Tensor {
        self.slots.push(Place::Arena { lifetime: None, bytes });
        Tensor { slot: self.slots.len() - 1, offset: 0, bytes }
    }

    /// A tensor in memory that outlives the program.
    pub fn fixed(&mut self, pointer: u64, bytes: usize) -> Tensor {
        self.slots.push(Place::Fixed { pointer });
        Tensor { slot: self.slots.len() - 1, offset: 0, bytes }
    }

    /// Records an operation on `tensors`; `launch` gets their addresses in that order and must touch
    /// nothing else in the arena.
    pub fn push<const N: usize>(
        &mut self,
        name: &'static str,
        tensors: [Tensor; N],
        launch: impl Fn([Address; N]) -> Result<(), CudaError> + Send + Sync + 'static,
    ) {
        let number = self.operations.len();
        for tensor in &tensors {
            if let Place::Arena { lifetime, bytes } = &mut self.slots[tensor.slot] {
                let first = lifetime.map_or(number, |known| known.first);
                *lifetime = Some(Lifetime { bytes: *bytes, first, last: number });
            }
        }
        let launch: Launch = Box::new(move |addresses| match addresses.try_into() {
            Ok(addresses) => launch(addresses),
            Err(_) => Ok(()),
        });
        self.operations.push(Operation { name, tensors: tensors.to_vec(), launch });
    }

    /// Keeps `tensor` as it is after the last operation, to be read from outside.
    pub fn keep(&mut self, tensor: Tensor) {
        if let Place::Arena { lifetime: Some(lifetime), .. } = &mut self.slots[tensor.slot] {
            lifetime.last = usize::MAX;
        }
    }

    /// Lays out the arena.
    pub fn compile(self, device: &Device) -> Program {
        let needed = self.slots.iter().map(|slot| match slot {
            Place::Arena { lifetime: Some(lifetime), .. } => *lifetime,
            _ => Lifetime { bytes: 0, first: 0, last: 0 },
        });
        let (offsets, arena_bytes) = lay_out(&needed.collect::<Vec<_>>());
        let places = self.slots.iter().zip(offsets).map(|(slot, offset)| match slot {
            Place::Arena { .. } => Start::Arena(offset),
            Place::Fixed { pointer } => Start::Fixed(*pointer),
        });
        Program {
            graph: None,
            starts: places.collect(),
            operations: self.operations,
            addresses: Vec::new(),
            arena: None,
            arena_bytes,
            device: device.clone(),
            warm: false,
        }
    }
}

enum Start {
    /// Bytes into the arena.
    Arena(usize),
    /// Address.
    Fixed(u64),
}

/// The arena all programs of a model run in, one at a time: as large as the largest one's.
pub(super) struct Arena {
    what: &'static str,
    device: Device,
    buffer: Option<Arc<Buffer>>,
}

impl Arena {
    /// Nothing yet, for `what`.
    pub fn new(device: &Device, what: &'static str) -> Self {
        Self { what, device: device.clone(), buffer: None }
    }

    /// Bytes it has now.
    pub fn bytes(&self) -> usize {
        self.buffer.as_ref().map_or(0, |buffer| buffer.len())
    }

    /// At least `bytes`. Programs that ran in a smaller one move when they run next.
    pub fn of(&mut self, bytes: usize) -> Result<Arc<Buffer>, CudaError> {
        if let Some(buffer) = &self.buffer
            && buffer.len() >= bytes
        {
            return Ok(buffer.clone());
        }
        // The old one may still be in use by queued work, and both at once may not fit.
        self.device.synchronize()?;
        self.buffer = None;
        let buffer = Arc::new(Buffer::zeros(&self.device, self.what, bytes)?);
        self.buffer = Some(buffer.clone());
        Ok(buffer)
    }
}

/// A program laid out.
pub(super) struct Program {
    // Dropped before the memory it names.
    graph: Option<Graph>,
    operations: Vec<Operation>,
    starts: Vec<Start>,
    /// Of every operation, once the program is bound to an arena.
    addresses: Vec<Vec<Address>>,
    arena: Option<Arc<Buffer>>,
    arena_bytes: usize,
    device: Device,
    /// Whether it has run: libraries load their code at the first call, which must not happen inside
    /// a capture.
    warm: bool,
}

/// A captured graph.
struct Graph(CudaGraph);

// SAFETY: the driver's graphs may be used from any thread, one at a time; a program owns its graph
// and launches it through `&mut self`.
unsafe impl Send for Graph {}

impl Program {
    /// Bytes of arena it needs.
    pub fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    /// Queues one run in `arena`.
    pub fn run(&mut self, arena: &mut Arena, execution: Execution) -> Result<(), CudaError> {
        self.device.context().bind_to_thread().doing("bind its context")?;
        // Freed first, so that a larger arena does not need room beside the smaller.
        if self.arena.as_ref().is_some_and(|buffer| buffer.len() < self.arena_bytes) {
            self.arena = None;
        }
        self.bind(arena.of(self.arena_bytes)?);
        if execution == Execution::Eager || !self.warm {
            self.warm = true;
            return self.launch_each();
        }
        if self.graph.is_none() {
            self.graph = Some(self.capture()?);
        }
        match &self.graph {
            Some(graph) => graph.0.launch().doing("launch a graph"),
            None => self.launch_each(),
        }
    }

    fn bind(&mut self, arena: Arc<Buffer>) {
        if self.arena.as_ref().is_some_and(|bound| bound.pointer() == arena.pointer()) {
            return;
        }
        self.graph = None;
        let address = |tensor: &Tensor| {
            let start = match self.starts[tensor.slot] {
                Start::Arena(offset) => arena.pointer() + offset as u64,
                Start::Fixed(pointer) => pointer,
            };
            Address { pointer: start + tensor.offset as u64, bytes: tensor.bytes }
        };
        let of = |operation: &Operation| operation.tensors.iter().map(address).collect();
        self.addresses = self.operations.iter().map(of).collect();
        self.arena = Some(arena);
    }

    fn launch_each(&self) -> Result<(), CudaError> {
        let bound = self.operations.iter().zip(&self.addresses);
        bound.into_iter().try_for_each(|(operation, addresses)| {
            (operation.launch)(addresses).map_err(|source| CudaError::Operation {
                operation: operation.name,
                source: Box::new(source),
            })
        })
    }

    fn capture(&self) -> Result<Graph, CudaError> {
        let stream = self.device.stream();
        // Other threads may allocate meanwhile; only this thread's calls are watched.
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
        stream.begin_capture(mode).doing("begin to capture a graph")?;
        let launched = self.launch_each();
        // The capture is ended in any case: the stream is of no use otherwise.
        let captured = stream.end_capture(sys::CUgraphInstantiate_flags(0));
        launched?;
        let captured = captured.doing("capture a graph")?;
        captured.map(Graph).ok_or(CudaError::Argument {
            what: "captured graph",
            found: "nothing".into(),
            expected: "the launches of a program".into(),
        })
    }

    /// Address of a kept tensor after the last run.
    pub fn pointer(&self, tensor: Tensor) -> u64 {
        let start = match (&self.arena, &self.starts[tensor.slot]) {
            (Some(arena), Start::Arena(offset)) => arena.pointer() + *offset as u64,
            (None, Start::Arena(_)) => 0,
            (_, Start::Fixed(pointer)) => *pointer,
        };
        start + tensor.offset as u64
    }

    /// Reads a kept tensor after the last run; waits for all queued work.
    pub fn read(&self, tensor: Tensor, into: &mut [f32]) -> Result<(), CudaError> {
        if let (Some(arena), Start::Arena(offset)) = (&self.arena, &self.starts[tensor.slot]) {
            arena.read((offset + tensor.offset) / size_of::<f32>(), into)?;
        }
        Ok(())
    }
}

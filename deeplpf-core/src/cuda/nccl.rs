//! Sums over the GPUs of several processes, by NVIDIA's NCCL, which is looked up when the program runs.
//!
//! The functions and their arguments are those of NCCL 2 (<https://docs.nvidia.com/deeplearning/nccl/>,
//! "NCCL API").

use std::{
    error::Error as _,
    ffi::{CStr, c_char, c_int, c_void},
    ptr,
    sync::OnceLock,
};

use libloading::Library as File;

use super::{Device, error::CudaError, span::Span};

/// Where the library is looked for: wheels and Debian's packages hold the first name only.
const FILES: [&str; 2] = ["libnccl.so.2", "libnccl.so"];
/// `ncclSuccess`.
const SUCCESS: c_int = 0;
/// `ncclFloat32`.
const FLOAT32: c_int = 7;
/// `ncclSum`.
const SUM: c_int = 0;
/// Bytes of an `ncclUniqueId`.
const ID: usize = 128;

/// `ncclUniqueId`.
#[repr(C)]
#[derive(Clone, Copy)]
struct UniqueId([u8; ID]);

/// `ncclComm_t`.
type Handle = *mut c_void;

type GetUniqueId = unsafe extern "C" fn(*mut UniqueId) -> c_int;
type InitRank = unsafe extern "C" fn(*mut Handle, c_int, UniqueId, c_int) -> c_int;
type OfHandle = unsafe extern "C" fn(Handle) -> c_int;
type AllReduce = unsafe extern "C" fn(
    *const c_void,
    *mut c_void,
    usize,
    c_int,
    c_int,
    Handle,
    *mut c_void,
) -> c_int;
type Group = unsafe extern "C" fn() -> c_int;
type ErrorString = unsafe extern "C" fn(c_int) -> *const c_char;
type LastError = unsafe extern "C" fn(Handle) -> *const c_char;

/// The functions of an open library.
struct Nccl {
    get_unique_id: GetUniqueId,
    init_rank: InitRank,
    abort: OfHandle,
    all_reduce: AllReduce,
    group_start: Group,
    group_end: Group,
    error_string: ErrorString,
    /// Since NCCL 2.13.
    last_error: Option<LastError>,
    /// What the functions lie in.
    _file: File,
}

impl Nccl {
    /// The library of this process, opened once.
    fn get() -> Result<&'static Self, CudaError> {
        static OPENED: OnceLock<Result<Nccl, String>> = OnceLock::new();
        let opened = OPENED.get_or_init(Self::open);
        opened.as_ref().map_err(|reason| CudaError::NoNccl { reason: reason.clone() })
    }

    fn open() -> Result<Self, String> {
        let mut reason = String::new();
        for name in FILES {
            // SAFETY: runs the constructors of NVIDIA's library, as linking to it would.
            match unsafe { File::new(name) } {
                Ok(file) => return Self::of(file).map_err(|error| format!("{name}: {error}")),
                // Of the first name: what a user can look for.
                Err(error) if reason.is_empty() => {
                    // The system's words are in the source.
                    reason = error.source().map_or(error.to_string(), ToString::to_string);
                }
                Err(_) => {}
            }
        }
        Err(reason)
    }

    fn of(file: File) -> Result<Self, libloading::Error> {
        // SAFETY: the types are those of NCCL's header for these names; the functions are not called
        // after the library is closed, because it never is.
        unsafe {
            Ok(Self {
                get_unique_id: *file.get::<GetUniqueId>(b"ncclGetUniqueId\0")?,
                init_rank: *file.get::<InitRank>(b"ncclCommInitRank\0")?,
                abort: *file.get::<OfHandle>(b"ncclCommAbort\0")?,
                all_reduce: *file.get::<AllReduce>(b"ncclAllReduce\0")?,
                group_start: *file.get::<Group>(b"ncclGroupStart\0")?,
                group_end: *file.get::<Group>(b"ncclGroupEnd\0")?,
                error_string: *file.get::<ErrorString>(b"ncclGetErrorString\0")?,
                last_error: file.get::<LastError>(b"ncclGetLastError\0").ok().map(|f| *f),
                _file: file,
            })
        }
    }

    /// NCCL's words for a status other than success.
    fn check(&self, status: c_int, doing: &'static str) -> Result<(), CudaError> {
        if status == SUCCESS {
            return Ok(());
        }
        let words = |text: *const c_char| {
            if text.is_null() {
                return String::new();
            }
            // SAFETY: NCCL gives a C string of its own, which stays until its next call.
            let text = unsafe { CStr::from_ptr(text) };
            text.to_string_lossy().trim().replace('\n', "; ")
        };
        // SAFETY: any status may be asked for.
        let mut reason = words(unsafe { (self.error_string)(status) });
        if let Some(last_error) = self.last_error {
            // SAFETY: without a communicator it tells the last error of the process.
            let last = words(unsafe { last_error(ptr::null_mut()) });
            if !last.is_empty() {
                reason = format!("{reason} ({last})");
            }
        }
        Err(CudaError::Nccl { doing, reason })
    }
}

/// The GPUs of all ranks, one for each process, as one of them sees them.
pub struct Ranks {
    nccl: &'static Nccl,
    handle: Handle,
    rank: usize,
    ranks: usize,
    device: Device,
}

// SAFETY: a communicator may be used from any thread, one at a time; sums are queued through the
// `&mut` of its training.
unsafe impl Send for Ranks {}

impl Ranks {
    /// Whether NCCL can be opened, which on all ranks is known best before one of them waits for others.
    ///
    /// # Errors
    /// No NCCL.
    pub fn require_library() -> Result<(), CudaError> {
        Nccl::get().map(|_| ())
    }

    /// What one rank makes and all [`Ranks::connect`] with.
    ///
    /// # Errors
    /// No NCCL, or it cannot listen on this machine.
    pub fn new_id() -> Result<[u8; ID], CudaError> {
        let nccl = Nccl::get()?;
        let mut id = UniqueId([0; ID]);
        // SAFETY: the pointer is to a live id, which NCCL fills.
        nccl.check(unsafe { (nccl.get_unique_id)(&mut id) }, "make a name for the ranks")?;
        Ok(id.0)
    }

    /// Waits until all `ranks` have called it, each from a process and with a GPU of its own; `rank` is
    /// this one, from 0.
    ///
    /// # Errors
    /// No NCCL, or it refuses: two ranks on one GPU, a network it cannot use.
    pub fn connect(
        device: &Device,
        id: [u8; ID],
        rank: usize,
        ranks: usize,
    ) -> Result<Self, CudaError> {
        let nccl = Nccl::get()?;
        let of = |number: usize| {
            c_int::try_from(number).map_err(|_| CudaError::Argument {
                what: "number of ranks",
                found: number.to_string(),
                expected: "one that NCCL can count".into(),
            })
        };
        // NCCL takes the thread's GPU.
        device.bind()?;
        let mut handle = ptr::null_mut();
        // SAFETY: the pointer is to a live handle, which NCCL fills; the context is the device's.
        let status = unsafe { (nccl.init_rank)(&mut handle, of(ranks)?, UniqueId(id), of(rank)?) };
        nccl.check(status, "connect the GPUs of the ranks")?;
        Ok(Self { nccl, handle, rank, ranks, device: device.clone() })
    }

    /// Which one this is, from 0.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// How many there are.
    pub fn ranks(&self) -> usize {
        self.ranks
    }

    /// Queues on the device's stream that every number of `parts` becomes its sum over all ranks, which
    /// all call this with parts of the same lengths; the memory must stay until that is done.
    pub(super) fn sum(&mut self, parts: &[Span<f32>]) -> Result<(), CudaError> {
        self.device.bind()?;
        let stream = self.device.stream().cu_stream().cast::<c_void>();
        let nccl = self.nccl;
        // As one operation.
        // SAFETY: opens a group in this thread, which is closed below.
        nccl.check(unsafe { (nccl.group_start)() }, "add gradients")?;
        let queued = parts.iter().try_for_each(|part| {
            let at = part.address() as *mut c_void;
            // SAFETY: the part is memory of this GPU, read and written in place in the order of the
            // stream; the handle is open.
            let status =
                unsafe { (nccl.all_reduce)(at, at, part.len(), FLOAT32, SUM, self.handle, stream) };
            nccl.check(status, "add gradients")
        });
        // SAFETY: closes the group.
        let closed = unsafe { (nccl.group_end)() };
        queued?;
        nccl.check(closed, "add gradients")
    }
}

impl Drop for Ranks {
    fn drop(&mut self) {
        // Not `ncclCommDestroy`, which may wait for ranks that wait for this one. What was queued is
        // done where there was no error. One at the end has nobody to go to.
        // SAFETY: the handle is open and not used again.
        unsafe { (self.nccl.abort)(self.handle) };
    }
}

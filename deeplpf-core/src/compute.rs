//! Where to compute: the CPU, or with feature `cuda` a GPU.

use candle_core::Device;

#[cfg(feature = "cuda")]
use crate::cuda;
use crate::{CoreError, Result};

/// Where to compute. Models and their parameters always live in the CPU's memory; a GPU's trainer or
/// enhancer copies them.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Compute {
    /// The CPU.
    Cpu,
    /// A GPU.
    #[cfg(feature = "cuda")]
    Cuda(cuda::Device),
}

/// What a device's name stands for on this machine.
#[derive(Clone, Debug)]
pub struct Selection {
    /// The choice.
    pub compute: Compute,
    /// What `auto` chose and why, a sentence; none where there was no choice.
    pub note: Option<String>,
}

impl Compute {
    /// The device called `auto`, `cpu`, `cuda` or `cuda:N`. `auto` is the first GPU if it can be used,
    /// else the CPU; without feature `cuda` it is the CPU.
    ///
    /// # Errors
    /// An unknown name, or a GPU that this build or machine does not have.
    pub fn select(name: &str) -> Result<Selection> {
        Self::select_for(name, 0)
    }

    /// As [`Compute::select`] for one of several processes of this machine, number `place` from 0:
    /// `cuda` and `auto` are then the GPU of that number, or the only one that the process sees.
    ///
    /// # Errors
    /// As there.
    pub fn select_for(name: &str, place: usize) -> Result<Selection> {
        let refuse = |reason: &str| CoreError::Device { given: name.into(), reason: reason.into() };
        match name {
            "cpu" => Ok(Selection { compute: Self::Cpu, note: None }),
            "auto" => Ok(Self::automatic(place)),
            "cuda" => Ok(Selection { compute: Self::gpu(name, Self::own_gpu(place))?, note: None }),
            cuda if cuda.starts_with("cuda:") => {
                let index = cuda.strip_prefix("cuda:").unwrap_or(cuda);
                let index = index
                    .parse()
                    .map_err(|_| refuse("write cuda:N with N the number of the GPU, from 0"))?;
                Ok(Selection { compute: Self::gpu(name, index)?, note: None })
            }
            _ => Err(refuse("known devices are auto, cpu and cuda:N")),
        }
    }

    /// In words, like "CPU" or "cuda:0 (NVIDIA H200)".
    pub fn describe(&self) -> String {
        match self {
            Self::Cpu => "CPU".into(),
            #[cfg(feature = "cuda")]
            Self::Cuda(device) => format!("cuda:{} ({})", device.index(), device.name()),
        }
    }

    /// The GPU of process `place`: launchers may show each process only its own.
    #[cfg(feature = "cuda")]
    fn own_gpu(place: usize) -> usize {
        if matches!(cuda::device_count(), Ok(1)) { 0 } else { place }
    }

    #[cfg(not(feature = "cuda"))]
    fn own_gpu(place: usize) -> usize {
        place
    }

    #[cfg(feature = "cuda")]
    fn automatic(place: usize) -> Selection {
        match cuda::Device::open(Self::own_gpu(place)) {
            Ok(device) => {
                let compute = Self::Cuda(device);
                let note = Some(format!("device auto: {}", compute.describe()));
                Selection { compute, note }
            }
            Err(error) => {
                let note = format!("device auto: the CPU, because {error}");
                Selection { compute: Self::Cpu, note: Some(note) }
            }
        }
    }

    #[cfg(not(feature = "cuda"))]
    fn automatic(_: usize) -> Selection {
        Selection { compute: Self::Cpu, note: None }
    }

    #[cfg(feature = "cuda")]
    fn gpu(name: &str, index: usize) -> Result<Self> {
        cuda::Device::open(index)
            .map(Self::Cuda)
            .map_err(|error| CoreError::Device { given: name.into(), reason: error.to_string() })
    }

    #[cfg(not(feature = "cuda"))]
    fn gpu(name: &str, _: usize) -> Result<Self> {
        Err(CoreError::Device {
            given: name.into(),
            reason:
                "this build runs on the CPU only; build with `--features cuda`, or use --device cpu"
                    .into(),
        })
    }
}

/// The CPU, for a device's name that allows it: `auto` or `cpu`.
///
/// # Errors
/// Any other name; see [`Compute::select`] for GPUs.
pub fn select_device(name: &str) -> Result<Device> {
    match name {
        "auto" | "cpu" => Ok(Device::Cpu),
        _ => match Compute::select(name)?.compute {
            Compute::Cpu => Ok(Device::Cpu),
            #[cfg(feature = "cuda")]
            Compute::Cuda(_) => Err(CoreError::Device {
                given: name.into(),
                reason: "this works on the CPU only; use --device cpu".into(),
            }),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert!(matches!(Compute::select("cpu").unwrap().compute, Compute::Cpu));
        for (name, part) in [("gpu", "known devices"), ("cuda:x", "cuda:N"), ("cuda:-1", "cuda:N")]
        {
            let error = Compute::select(name).unwrap_err().to_string();
            assert!(error.contains(part) && error.contains(name), "{error}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_build_without_cuda_says_what_to_do() {
        let error = Compute::select("cuda:0").unwrap_err().to_string();
        assert!(error.contains("--features cuda") && error.contains("--device cpu"), "{error}");
        let selection = Compute::select("auto").unwrap();
        assert!(matches!(selection.compute, Compute::Cpu) && selection.note.is_none());
    }
}

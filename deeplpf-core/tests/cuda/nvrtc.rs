//! Every kernel compiled to machine code by NVIDIA's nvrtc, which needs no GPU. `DEEPLPF_NVRTC` names
//! the folder of libnvrtc (see `scripts/cuda-toolkit.sh`); without it there is nothing to compile with.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::stand_in;

/// Registers and bytes of spilled registers, by kernel and architecture.
fn read_report(text: &str) -> BTreeMap<(String, String), (u32, u32)> {
    let mut kernels = BTreeMap::new();
    let (mut kernel, mut spilled) = ((String::new(), String::new()), 0);
    let number_before = |line: &str, words: &str| -> Option<u32> {
        line[..line.find(words)?].rsplit([' ', ',']).find(|part| !part.is_empty())?.parse().ok()
    };
    for line in text.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            let mut parts = rest.split('\'');
            kernel = (
                parts.next().unwrap_or_default().to_owned(),
                parts.nth(1).unwrap_or_default().to_owned(),
            );
        } else if let Some(stores) = number_before(line, " bytes spill stores") {
            spilled = stores + number_before(line, " bytes spill loads").unwrap_or(0);
        } else if let Some((_, rest)) = line.split_once(": Used ")
            && let Some(registers) = rest.split(' ').next().and_then(|n| n.parse().ok())
        {
            kernels.insert(kernel.clone(), (registers, spilled));
        }
    }
    kernels
}

fn library(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    let mut files: Vec<_> = entries
        .filter(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with("libnvrtc.so") && !name.contains("alt")
        })
        .collect();
    files.sort();
    files.pop()
}

/// Runs the tests that open a device again, in a process whose stand-in passes every source it gets to
/// NVIDIA's compiler.
#[test]
fn every_kernel_compiles_for_gpus_without_spilling() {
    let Some(folder) = env::var_os("DEEPLPF_NVRTC").map(PathBuf::from) else {
        println!("SKIPPED: DEEPLPF_NVRTC names no folder with libnvrtc");
        return;
    };
    let Some(library) = library(&folder) else { panic!("{} holds no libnvrtc", folder.display()) };
    if !stand_in::ready() || stand_in::stand_in_folder().is_none() {
        return;
    }
    let report = env::temp_dir().join(format!("deeplpf-nvrtc-{}.txt", std::process::id()));
    let output = Command::new(env::current_exe().unwrap())
        .args(["--skip", "every_kernel_compiles", "--skip", "source_error"])
        .env_remove("DEEPLPF_NVRTC")
        .env("DEEPLPF_CUDA_TESTS", "stand-in")
        .env("STAND_IN_NVRTC", &library)
        .env("LD_LIBRARY_PATH", &folder) // where nvrtc looks for its built-in functions
        .env("STAND_IN_NVRTC_REPORT", &report)
        .output()
        .unwrap();
    let words = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{words}\n{}", String::from_utf8_lossy(&output.stderr));
    let kernels = read_report(&fs::read_to_string(&report).unwrap());
    fs::remove_file(&report).unwrap();
    assert!(!kernels.is_empty(), "the report names no kernel");
    for ((kernel, target), (registers, spilled)) in &kernels {
        println!("{target} {kernel}: {registers} registers, {spilled} bytes spilled");
    }
    let spilling: Vec<_> = kernels.iter().filter(|(_, (_, spilled))| *spilled > 0).collect();
    assert!(spilling.is_empty(), "kernels that spill registers: {spilling:?}");
}

#[test]
fn the_compilers_report_is_read() {
    let text = "ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'sums' for 'sm_90'
ptxas info    : Function properties for sums
    0 bytes stack frame, 16 bytes spill stores, 24 bytes spill loads
ptxas info    : Used 14 registers, used 1 barriers, 32 bytes smem";
    let kernels = read_report(text);
    assert_eq!(kernels[&("sums".into(), "sm_90".into())], (14, 40));
}

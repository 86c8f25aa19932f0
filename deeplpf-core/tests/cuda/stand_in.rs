//! The driver the CUDA tests run on: the machine's own where it has a GPU, else the stand-in of
//! `stand_in_cuda/`, built here with the system's C++ compiler. Where there is neither, every test
//! says by name that it was skipped.
//!
//! Included by the test programs of other crates with `#[path]`. `DEEPLPF_CUDA_TESTS=stand-in` chooses
//! the stand-in where there is a GPU too; `DEEPLPF_CUDA_TESTS=gpu` forbids it.

#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    env,
    ffi::{CStr, CString, c_char, c_int, c_void},
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

/// What the tests of this process run on.
#[derive(Clone, Debug)]
pub enum Driver {
    /// A GPU.
    Gpu,
    /// The stand-in whose libraries lie in this folder.
    StandIn(PathBuf),
}

/// Sources of the stand-in and the library each belongs to.
const LIBRARIES: [(&str, &[&str], &[&str]); 4] = [
    (
        "libcuda.so",
        &["block.cpp", "device.cpp", "memory.cpp", "modules.cpp", "streams.cpp"],
        &["-O2", "-pthread", "-ldl"],
    ),
    ("libnvrtc.so", &["nvrtc.cpp"], &["-O1", "-ldl"]),
    (
        "libcudnn.so",
        &["convolution.cpp", "cudnn.cpp"],
        &["-O3", "-march=native", "-Wno-psabi", "-pthread", "-L.", "-lcuda", "-Wl,-rpath,$ORIGIN"],
    ),
    ("libnccl.so", &["nccl.cpp"], &["-O2", "-L.", "-lcuda", "-lrt", "-Wl,-rpath,$ORIGIN"]),
];
const HEADERS: [&str; 5] = ["block.h", "convolution.h", "driver.h", "kernel.h", "launch.h"];
/// Further names under which the libraries are looked for.
const LINKS: [(&str, &str); 4] = [
    ("libcuda.so.1", "libcuda.so"),
    ("libnvrtc.so.13", "libnvrtc.so"),
    ("libcudnn.so.9", "libcudnn.so"),
    ("libnccl.so.2", "libnccl.so"),
];

unsafe extern "C" {
    fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void;
    fn dlsym(library: *mut c_void, name: *const c_char) -> *mut c_void;
    fn dlerror() -> *const c_char;
}
const RTLD_NOW: c_int = 2;

fn open(file: &str) -> Result<*mut c_void, String> {
    let name = CString::new(file).map_err(|error| error.to_string())?;
    // SAFETY: the name is a C string; loading runs the library's constructors, which are the driver's
    // own or the stand-in's, which has none.
    let library = unsafe { dlopen(name.as_ptr(), RTLD_NOW) };
    if library.is_null() {
        // SAFETY: after a failure dlerror gives a C string.
        return Err(unsafe { CStr::from_ptr(dlerror()) }.to_string_lossy().into_owned());
    }
    Ok(library)
}

/// Whether the dynamic loader's own libcuda starts and lists a device.
fn gpu_present() -> bool {
    let Ok(library) = open("libcuda.so.1") else { return false };
    let symbol = |name: &CStr| {
        // SAFETY: the library is open and the name a C string.
        let at = unsafe { dlsym(library, name.as_ptr()) };
        (!at.is_null()).then_some(at)
    };
    let (Some(init), Some(count)) = (symbol(c"cuInit"), symbol(c"cuDeviceGetCount")) else {
        return false;
    };
    let mut devices: c_int = 0;
    // SAFETY: these are the functions' signatures in the CUDA driver API.
    unsafe {
        let init: unsafe extern "C" fn(u32) -> c_int = std::mem::transmute(init);
        let count: unsafe extern "C" fn(*mut c_int) -> c_int = std::mem::transmute(count);
        init(0) == 0 && count(&mut devices) == 0 && devices > 0
    }
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../deeplpf-core/tests/stand_in_cuda")
}

/// Builds the stand-in into the folder of the build's outputs, once for each state of its sources.
fn build() -> Result<PathBuf, String> {
    let compiler = env::var("CXX").unwrap_or_else(|_| "c++".into());
    if Command::new(&compiler).arg("--version").output().is_err() {
        return Err(format!("no GPU, and no C++ compiler ({compiler}) to build the stand-in with"));
    }
    let sources = sources();
    let mut hash = 0xcbf2_9ce4_8422_2325u64; // FNV-1a over every source
    let files = LIBRARIES.iter().flat_map(|(_, files, _)| files.iter()).chain(&HEADERS);
    for file in files {
        let text = fs::read(sources.join(file)).map_err(|error| format!("{file}: {error}"))?;
        for byte in text {
            hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    // target/<profile>/deps/<program> -> target/<profile>
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let target = program.ancestors().nth(2).unwrap_or(Path::new("."));
    let parent = target.join("stand-in-cuda");
    let folder = parent.join(format!("{hash:016x}"));
    if folder.exists() {
        return Ok(folder);
    }
    // Several test programs may build at the same time: each its own folder, renamed at the end.
    let own = parent.join(format!("building-{}", std::process::id()));
    fs::create_dir_all(&own).map_err(|error| error.to_string())?;
    for (library, files, flags) in LIBRARIES {
        let mut command = Command::new(&compiler);
        command.args(["-std=c++17", "-fPIC", "-shared", "-Wall", "-Wextra"]);
        command.args(files.iter().map(|file| sources.join(file)));
        command.args(["-o", library]).arg(format!("-Wl,-soname,{library}")).args(flags);
        let output = command.current_dir(&own).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            let words = String::from_utf8_lossy(&output.stderr).into_owned();
            panic!("the stand-in's {library} does not compile:\n{words}");
        }
    }
    for (link, library) in LINKS {
        std::os::unix::fs::symlink(library, own.join(link)).map_err(|error| error.to_string())?;
    }
    for header in HEADERS {
        fs::copy(sources.join(header), own.join(header)).map_err(|error| error.to_string())?;
    }
    if fs::rename(&own, &folder).is_err() {
        // Another program was quicker.
        fs::remove_dir_all(&own).map_err(|error| error.to_string())?;
    }
    Ok(folder)
}

/// The driver of this process, chosen and loaded once, or why there is none.
pub fn driver() -> Result<&'static Driver, &'static str> {
    static DRIVER: OnceLock<Result<Driver, String>> = OnceLock::new();
    let chosen = DRIVER.get_or_init(|| {
        let wish = env::var("DEEPLPF_CUDA_TESTS").unwrap_or_default();
        if wish != "stand-in" && gpu_present() {
            println!("CUDA tests run on this machine's GPU");
            return Ok(Driver::Gpu);
        }
        if wish == "gpu" {
            panic!("DEEPLPF_CUDA_TESTS=gpu, but no driver lists a GPU");
        }
        let folder = build()?;
        // Loaded by path first: later searches for these names find what is loaded.
        for (library, ..) in LIBRARIES {
            open(&folder.join(library).to_string_lossy())?;
        }
        println!("CUDA tests run on the stand-in driver (no GPU): correctness, not speed");
        Ok(Driver::StandIn(folder))
    });
    chosen.as_ref().map_err(String::as_str)
}

/// Prepares the driver; false, and a line that names the running test, where there is none.
pub fn ready() -> bool {
    match driver() {
        Ok(_) => true,
        Err(reason) => {
            skipped(reason);
            false
        }
    }
}

/// Says that the running test was skipped, by its name.
pub fn skipped(reason: &str) {
    let name = std::thread::current().name().unwrap_or("a CUDA test").to_owned();
    // Past libtest's capture, which shows only the output of failed tests.
    use std::io::Write as _;
    let line = format!("\nSKIPPED {name}: {reason}\n");
    let _ = std::io::stderr().write_all(line.as_bytes());
}

/// The folder of the stand-in's libraries, for `LD_LIBRARY_PATH` of another program; `None` on a GPU or
/// where there is no compiler.
pub fn stand_in_folder() -> Option<PathBuf> {
    match driver() {
        Ok(Driver::StandIn(folder)) => Some(folder.clone()),
        _ => None,
    }
}

/// A folder like the stand-in's but without one of its libraries ("cuda", "nvrtc", "cudnn" or "nccl"), in `at`.
pub fn folder_without(missing: &str, at: &Path) -> Option<PathBuf> {
    let folder = stand_in_folder()?;
    let hidden = format!("lib{missing}.so");
    fs::create_dir_all(at).ok()?;
    for entry in fs::read_dir(folder).ok()?.flatten() {
        let name = entry.file_name();
        if !name.to_string_lossy().starts_with(&hidden) && name != "kernels" {
            std::os::unix::fs::symlink(entry.path(), at.join(name)).ok()?;
        }
    }
    Some(at.to_owned())
}

/// Says where the stand-in lies, for `scripts/gpu-check.sh --dry-run`.
#[test]
fn folder_is_said() {
    if let Some(folder) = stand_in_folder() {
        println!("\nstand-in: {}", folder.display());
        assert!(folder.join("libcuda.so.1").exists());
    }
}

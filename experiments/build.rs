//! Gives the library the hash of the sources that decide a run's numbers.
//!
//! Only what computes counts (filters, network, data, training) with the versions of its libraries;
//! a new table or a new command leaves finished runs valid. Outside this workspace the crates' own
//! versions stand for their sources.

use std::{
    fs,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

const DECIDING: [&str; 4] =
    ["deeplpf-filters/src", "deeplpf-core/src", "deeplpf-data/src", "deeplpf-train/src"];

fn main() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = Vec::new();
    for folder in DECIDING {
        println!("cargo:rerun-if-changed=../{folder}");
        collect(&workspace.join(folder), &mut files);
    }
    let lock = workspace.join("Cargo.lock");
    println!("cargo:rerun-if-changed=../Cargo.lock");
    let version = env!("CARGO_PKG_VERSION");
    let code = if files.is_empty() {
        version.to_owned()
    } else {
        files.push(lock);
        files.sort();
        let mut hash = Sha256::new();
        for file in files {
            let name = file.strip_prefix(&workspace).unwrap_or(&file);
            hash.update(name.to_string_lossy().as_bytes());
            hash.update([0]);
            hash.update(fs::read(&file).unwrap_or_default());
            hash.update([0]);
        }
        let digits: String =
            hash.finalize().iter().take(6).map(|byte| format!("{byte:02x}")).collect();
        format!("{version}+src.{digits}")
    };
    println!("cargo:rustc-env=DEEPLPF_CODE_VERSION={code}");
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path.is_dir() {
            collect(&path, files);
        } else {
            files.push(path);
        }
    }
}

//! Manifests: an error or entries whose files stay inside the folder.
#![no_main]

use std::path::{Component, Path};

use deeplpf_data::prepare::Manifest;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(manifest) = Manifest::parse(bytes, Path::new("x")) {
        for entry in manifest.entries {
            for file in [entry.input.file, entry.target.file] {
                let mut parts = Path::new(&file).components();
                assert!(parts.all(|part| matches!(part, Component::Normal(_))));
            }
        }
    }
});

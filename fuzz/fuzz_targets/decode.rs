//! Pictures of any content: an error or values in [0, 1], within the limit.
#![no_main]

use std::path::Path;

use deeplpf_data::{DecodeLimits, decode_bytes_with};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let limits = DecodeLimits { max_pixels: 1 << 16 };
    if let Ok(image) = decode_bytes_with(bytes, Path::new("x"), &limits) {
        assert!(image.pixels.len() <= 3 << 16);
        assert!(image.pixels.iter().all(|v| (0.0..=1.0).contains(v)));
    }
});

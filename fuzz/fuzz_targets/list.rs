//! Lists of ids: an error or ids that can be written and read back.
#![no_main]

use std::path::Path;

use deeplpf_data::split::parse_ids;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(ids) = parse_ids(bytes, Path::new("x")) {
        let again = parse_ids(ids.join("\r\n").as_bytes(), Path::new("x"));
        // A byte order mark may be part of an id only where it does not begin the list.
        if !ids[0].starts_with('\u{feff}') {
            assert_eq!(again.expect("ids that were read"), ids);
        }
    }
});

//! Camera raw files: the mosaic, its levels and colours, and a rendering of our own.
//!
//! A raw file becomes a [`Mosaic`]: the samples of the active area, one a pixel, with the pattern of
//! colour filters ([`Cfa`]), black and white levels, white balance and colour matrices.
//! [`render()`] makes a picture of it by [`RENDERING`], which is described in `docs/src/render.md`
//! and is nobody else's: neither Lightroom's nor the camera's.
//!
//! Files are decoded and demosaiced by the crate `rawler` (LGPL-2.1), behind the feature `raw`.
//! Without it everything here exists, and whatever needs it returns [`RawError::NotBuiltIn`].
//!
//! | module | what it does |
//! |---|---|
//! | [`cfa`] | patterns of colour filters |
//! | [`mosaic`] | what a raw file holds |
//! | [`colour`] | from a camera's colours to linear sRGB |
//! | [`render`](mod@render) | the rendering |

pub mod cfa;
pub mod colour;
mod decode;
mod demosaic;
mod error;
pub mod mosaic;
pub mod render;

pub use cfa::Cfa;
pub use error::RawError;
pub use mosaic::Mosaic;
pub use render::{Area, Curve, RENDERING, RenderOptions, render, render_file};

use std::path::Path;

/// Whether this build decodes raw files.
pub const BUILT_IN: bool = cfg!(feature = "raw");

/// Extensions, lower case, of the raw files that are looked for in folders.
pub const EXTENSIONS: [&str; 3] = ["dng", "arw", "raf"];

/// Whether a file is a raw one by its extension, in either case.
#[must_use]
pub fn has_raw_extension(path: &Path) -> bool {
    path.extension().is_some_and(|extension| {
        EXTENSIONS.iter().any(|known| extension.eq_ignore_ascii_case(known))
    })
}

/// Whether a file is a camera raw one by its content: [`format_of`].
#[must_use]
pub fn is_raw(bytes: &[u8], name: &Path) -> bool {
    format_of(bytes, name).is_some()
}

/// `DNG`, `ARW` or `RAF` for camera raw files, `None` for all others. A RAF and a DNG are told by their
/// content, an ARW is a TIFF that is called so. As a TIFF, a DNG or an ARW would decode to its thumbnail.
#[must_use]
pub fn format_of(bytes: &[u8], name: &Path) -> Option<&'static str> {
    if bytes.starts_with(b"FUJIFILMCCD-RAW") {
        return Some("RAF");
    }
    if !(bytes.starts_with(b"II*\0") || bytes.starts_with(b"MM\0*")) {
        return None;
    }
    if has_dng_version(bytes) {
        return Some("DNG");
    }
    let arw = name.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("arw"));
    arw.then_some("ARW")
}

/// DNGVersion: DNG 1.7, chapter 4.
const DNG_VERSION: u16 = 50706;

/// Whether the first directory of a TIFF has the tag [`DNG_VERSION`].
fn has_dng_version(bytes: &[u8]) -> bool {
    let little = bytes.starts_with(b"II");
    let short = |at: usize| -> Option<u16> {
        let number = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(if little { u16::from_le_bytes(number) } else { u16::from_be_bytes(number) })
    };
    let long = |at: usize| -> Option<usize> {
        let number = bytes.get(at..at + 4)?.try_into().ok()?;
        let number = if little { u32::from_le_bytes(number) } else { u32::from_be_bytes(number) };
        usize::try_from(number).ok()
    };
    let found = || -> Option<bool> {
        let directory = long(4)?;
        let count = usize::from(short(directory)?);
        let mut tags = (0..count).map(|k| short(directory.checked_add(2 + 12 * k)?));
        Some(tags.any(|tag| tag == Some(DNG_VERSION)))
    };
    found().unwrap_or(false)
}

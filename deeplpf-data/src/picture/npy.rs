//! NumPy's array file, version 1.0.
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::io::{self, Write};

/// The header's total length is a multiple of this, so that the data can be mapped aligned.
const ALIGNMENT: usize = 64;

/// Values turned to bytes at a time.
const BATCH: usize = 4096;

/// Writes interleaved values as little-endian float32 H x W x 3, C order, as they are.
pub(super) fn write(
    writer: &mut impl Write,
    values: &[f32],
    (width, height): (u32, u32),
) -> io::Result<()> {
    let dictionary =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}, 3), }}");
    // Magic 6, version 2, length 2, dictionary, padding, newline.
    let unpadded = 10 + dictionary.len() + 1;
    let padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;
    // At most two 10-digit numbers in the dictionary: far below 65536.
    let length = (dictionary.len() + padding + 1) as u16;
    writer.write_all(b"\x93NUMPY\x01\x00")?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(dictionary.as_bytes())?;
    writer.write_all(&b" ".repeat(padding))?;
    writer.write_all(b"\n")?;
    let mut bytes = Vec::with_capacity(4 * BATCH);
    for batch in values.chunks(BATCH) {
        bytes.clear();
        bytes.extend(batch.iter().flat_map(|value| value.to_le_bytes()));
        writer.write_all(&bytes)?;
    }
    Ok(())
}

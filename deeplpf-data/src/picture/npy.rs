//! NumPy's array file, version 1.0.
//! <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>

use std::io::{self, Write};

use ndarray::ArrayView3;

/// The header's total length is a multiple of this, so that the data can be mapped aligned.
const ALIGNMENT: usize = 64;

/// Writes planes 3 x H x W as little-endian float32 H x W x 3, C order, values as they are.
pub(super) fn write_interleaved(
    pixels: ArrayView3<'_, f32>,
    writer: &mut impl Write,
) -> io::Result<()> {
    let (_, height, width) = pixels.dim();
    let dictionary =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({height}, {width}, 3), }}");
    // Magic 6, version 2, length 2, dictionary, padding, newline.
    let unpadded = 10 + dictionary.len() + 1;
    let padding = unpadded.next_multiple_of(ALIGNMENT) - unpadded;
    // At most two 20-digit numbers in the dictionary: far below 65536.
    let length = (dictionary.len() + padding + 1) as u16;
    writer.write_all(b"\x93NUMPY\x01\x00")?;
    writer.write_all(&length.to_le_bytes())?;
    writer.write_all(dictionary.as_bytes())?;
    writer.write_all(&b" ".repeat(padding))?;
    writer.write_all(b"\n")?;
    let interleaved = pixels.permuted_axes([1, 2, 0]);
    for value in interleaved {
        writer.write_all(&value.to_le_bytes())?;
    }
    Ok(())
}

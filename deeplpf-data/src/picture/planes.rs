//! A picture's sRGB samples in planes.

use super::Picture;
use super::colour::ToSrgb;
use super::levels::{Levels, zeroed};
use crate::DataError;

/// Red, green and blue planes of sRGB samples, 3 x H x W, in the shallowest form that keeps every
/// value of the decoded picture exactly.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Planes {
    /// The values are level / 255.
    Eight(Vec<u8>),
    /// The values are level / 65535.
    Sixteen(Vec<u16>),
    /// Of a picture whose colour profile was applied: its values are no levels.
    Float(Vec<f32>),
}

impl Picture {
    /// The samples as planes, 3 x H x W.
    ///
    /// # Errors
    /// [`DataError::OutOfMemory`].
    pub(crate) fn into_planes(self) -> Result<Planes, DataError> {
        if !matches!(self.to_srgb, ToSrgb::Same) {
            let (values, _) = self.into_image()?.pixels.into_raw_vec_and_offset();
            return Ok(Planes::Float(values));
        }
        let out_of_memory = || Self::out_of_memory(&self.name);
        Ok(match &self.levels {
            Levels::Eight(levels) => {
                Planes::Eight(planar(levels, self.colours).ok_or_else(out_of_memory)?)
            }
            Levels::Sixteen(levels) => {
                Planes::Sixteen(planar(levels, self.colours).ok_or_else(out_of_memory)?)
            }
        })
    }
}

/// Three planes from one or three interleaved samples a pixel.
fn planar<T: Copy + Default>(interleaved: &[T], colours: usize) -> Option<Vec<T>> {
    let pixels = interleaved.len() / colours;
    let mut planes = zeroed::<T>(3 * pixels)?;
    if colours == 1 {
        planes.chunks_exact_mut(pixels).for_each(|plane| plane.copy_from_slice(interleaved));
        return Some(planes);
    }
    let (red, rest) = planes.split_at_mut(pixels);
    let (green, blue) = rest.split_at_mut(pixels);
    for (((p, r), g), b) in interleaved.as_chunks::<3>().0.iter().zip(red).zip(green).zip(blue) {
        [*r, *g, *b] = *p;
    }
    Some(planes)
}

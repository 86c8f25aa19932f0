//! Samples in a file's own bit depth, interleaved.

use image::{ColorType, ExtendedColorType, ImageDecoder};

use super::container::Structure;

/// A sample of 8 or 16 bits.
pub(super) trait Level: Copy + Default + Send + Sync + 'static {
    /// As an index into a table of all levels.
    fn index(self) -> usize;
    /// As a fraction of white.
    fn fraction(self) -> f32;
    /// The same fraction of 65535.
    fn wide(self) -> u16;
}

impl Level for u8 {
    fn index(self) -> usize {
        usize::from(self)
    }

    fn fraction(self) -> f32 {
        f32::from(self) / 255.0
    }

    fn wide(self) -> u16 {
        u16::from(self) * 257
    }
}

impl Level for u16 {
    fn index(self) -> usize {
        usize::from(self)
    }

    fn fraction(self) -> f32 {
        f32::from(self) / 65535.0
    }

    fn wide(self) -> u16 {
        self
    }
}

/// The samples of a picture: one (grey) or three a pixel.
pub(super) enum Levels {
    /// 8 bits.
    Eight(Vec<u8>),
    /// 16 bits.
    Sixteen(Vec<u16>),
}

/// How a decoder hands out its samples.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Colour samples a pixel: 1 or 3.
    pub(super) colours: usize,
    /// Samples a pixel, including alpha.
    pub(super) channels: usize,
    /// 16 bits a sample instead of 8.
    pub(super) wide: bool,
}

impl Layout {
    /// # Errors
    /// The name of pixels that are not supported.
    pub(super) fn of(decoder: &dyn ImageDecoder, structure: &Structure) -> Result<Self, String> {
        // The decoders turn CMYK into RGB without its profile, which is not the picture's colours.
        let cmyk_tiff = matches!(
            decoder.original_color_type(),
            ExtendedColorType::Cmyk8 | ExtendedColorType::Cmyk16
        );
        if cmyk_tiff || structure.jpeg_components == 4 {
            return Err("CMYK".into());
        }
        let (colours, channels, wide) = match decoder.color_type() {
            ColorType::L8 => (1, 1, false),
            ColorType::La8 => (1, 2, false),
            ColorType::Rgb8 => (3, 3, false),
            ColorType::Rgba8 => (3, 4, false),
            ColorType::L16 => (1, 1, true),
            ColorType::La16 => (1, 2, true),
            ColorType::Rgb16 => (3, 3, true),
            ColorType::Rgba16 => (3, 4, true),
            ColorType::Rgb32F | ColorType::Rgba32F => return Err("32 bit float".into()),
            other => return Err(format!("{other:?}")),
        };
        Ok(Self { colours, channels, wide })
    }

    /// The largest level: white.
    pub(super) fn max(self) -> u16 {
        if self.wide { u16::MAX } else { u16::from(u8::MAX) }
    }

    /// Moves the colours together in place and gives back what alpha took. Returns how many pixels
    /// were not wholly opaque.
    pub(super) fn drop_alpha<L: Level>(self, levels: &mut Vec<L>) -> usize {
        if self.channels == self.colours {
            return 0;
        }
        let alphas = levels.iter().skip(self.colours).step_by(self.channels);
        let transparent = alphas.filter(|alpha| alpha.wide() != u16::MAX).count();
        let pixels = levels.len() / self.channels;
        for pixel in 0..pixels {
            let from = pixel * self.channels;
            levels.copy_within(from..from + self.colours, pixel * self.colours);
        }
        levels.truncate(pixels * self.colours);
        levels.shrink_to_fit();
        transparent
    }
}

/// A buffer of zeros, or `None` instead of an abort where there is no memory for it.
pub(super) fn zeroed<T: Clone + Default>(size: usize) -> Option<Vec<T>> {
    let mut buffer = Vec::new();
    buffer.try_reserve_exact(size).ok()?;
    buffer.resize(size, T::default());
    Some(buffer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_that_cannot_be_had_is_none() {
        assert!(zeroed::<f32>(usize::MAX / 8).is_none());
    }

    #[test]
    fn alpha_is_left_out() {
        let layout = |colours, wide| Layout { colours, channels: colours + 1, wide };
        let mut grey = vec![255u8, 7, 51, 255];
        assert_eq!(layout(1, false).drop_alpha(&mut grey), 1);
        assert_eq!(grey, [255, 51]);
        let mut rgb = vec![65535u16, 0, 13107, 9, 1, 2, 3, 4];
        assert_eq!(layout(3, true).drop_alpha(&mut rgb), 2);
        assert_eq!(rgb, [65535, 0, 13107, 1, 2, 3]);
    }
}

//! Decoding by `rawler`, whose panics become errors and whose sizes are checked first.

use std::path::Path;

use super::{Mosaic, RawError};
use crate::DecodeLimits;

#[cfg(not(feature = "raw"))]
pub(super) fn decode(_: Vec<u8>, name: &Path, _: &DecodeLimits) -> Result<Mosaic, RawError> {
    Err(RawError::NotBuiltIn { path: name.to_path_buf() })
}

#[cfg(feature = "raw")]
pub(super) use rawler_decoder::{decode, without_panic};

#[cfg(feature = "raw")]
mod rawler_decoder {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::{Arc, Once};

    use rawler::decoders::{Decoder, FormatHint, RawDecodeParams, WellKnownIFD};
    use rawler::formats::tiff::IFD;
    use rawler::imgop::Rect;
    use rawler::imgop::xyz::Illuminant;
    use rawler::rawsource::RawSource;
    use rawler::tags::{DngTag, TiffCommonTag};
    use rawler::{RawImage, RawImageData, RawlerError};

    use super::*;
    use crate::raw::Cfa;
    use crate::raw::colour::{CalibratedMatrix, D65};
    use crate::raw::mosaic::{BlackLevels, Part};

    pub(in crate::raw) fn decode(
        bytes: Vec<u8>,
        name: &Path,
        limits: &DecodeLimits,
    ) -> Result<Mosaic, RawError> {
        if bytes.is_empty() {
            return Err(RawError::Damaged { path: name.to_path_buf(), reason: "0 bytes".into() });
        }
        let source = RawSource::new_from_shared_vec(Arc::new(bytes)).with_path(name);
        without_panic(name, || {
            let failed = |error| failed(name, error);
            let decoder = rawler::get_decoder(&source).map_err(failed)?;
            let parameters = RawDecodeParams::default();
            let directory = decoder.ifd(WellKnownIFD::Raw).map_err(failed)?;
            let directory = directory.filter(|_| decoder.format_hint() == FormatHint::DNG);
            check_size(&*decoder, directory.as_deref(), &source, name, limits)?;
            let image = decoder.raw_image(&source, &parameters, false).map_err(failed)?;
            let exposure_time = decoder
                .raw_metadata(&source, &parameters)
                .ok()
                .and_then(|metadata| metadata.exif.exposure_time)
                .map(|time| f64::from(time.n) / f64::from(time.d))
                .filter(|seconds| seconds.is_finite() && *seconds > 0.0);
            let baseline = directory
                .as_ref()
                .and_then(|_| decoder.ifd(WellKnownIFD::Root).ok().flatten())
                .and_then(|root| Some(root.get_entry(DngTag::BaselineExposure)?.force_f32(0)))
                .filter(|stops| stops.abs() <= MOST_BASELINE)
                .unwrap_or(0.0);
            let mosaic = mosaic(image, directory.as_deref(), name)?;
            Ok(Mosaic { exposure_time, baseline_exposure: baseline, ..mosaic })
        })
    }

    /// Largest baseline exposure that is believed, in EV: cameras have -1 to 2.
    const MOST_BASELINE: f32 = 5.0;

    /// Runs `work` on `rawler`, where a panic is a damaged file.
    pub(in crate::raw) fn without_panic<T>(
        name: &Path,
        work: impl FnOnce() -> Result<T, RawError>,
    ) -> Result<T, RawError> {
        static QUIET: Once = Once::new();
        // Panics inside rawler are reported as errors here, so its messages are not printed.
        QUIET.call_once(|| {
            let usual = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |panic| {
                let file = panic.location().map_or("", |location| location.file());
                if !file.contains("/rawler-") {
                    usual(panic);
                }
            }));
        });
        // What `work` leaves behind after a panic is dropped with it.
        catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .map(String::as_str)
                .or_else(|| panic.downcast_ref::<&str>().copied())
                .unwrap_or(CONTRADICTION);
            // What was asserted in the decoder's source tells a user nothing.
            let reason = if text.contains("EOF") { text } else { CONTRADICTION };
            Err(damaged(name, reason))
        })
    }

    /// A panic of the decoder.
    const CONTRADICTION: &str = "the numbers in it contradict each other";

    fn damaged(name: &Path, text: &str) -> RawError {
        let path = name.to_path_buf();
        if text.contains("EOF") {
            return RawError::Truncated { path };
        }
        // One sentence: the first line of what may be a report.
        let reason = text.lines().next().unwrap_or_default().trim_end_matches('.').to_owned();
        RawError::Damaged { path, reason }
    }

    fn failed(name: &Path, error: RawlerError) -> RawError {
        let path = name.to_path_buf();
        match error {
            RawlerError::Unsupported { what, make, model, .. } => {
                let what = what.lines().next().unwrap_or_default();
                let reason = format!("{what}: {} {}", make.trim(), model.trim());
                RawError::Unsupported { path, reason }
            }
            RawlerError::DecoderFailed(text) => {
                let lower = text.to_lowercase();
                if lower.contains("unsupported") || lower.contains("no decoder found") {
                    let reason = text.lines().next().unwrap_or_default().to_owned();
                    return RawError::Unsupported { path, reason };
                }
                damaged(name, &text)
            }
        }
    }

    /// Refuses sizes above the limit before anything is allocated.
    fn check_size(
        decoder: &dyn Decoder,
        directory: Option<&IFD>,
        source: &RawSource,
        name: &Path,
        limits: &DecodeLimits,
    ) -> Result<(), RawError> {
        let path = || name.to_path_buf();
        let (width, height) = match directory {
            Some(directory) => {
                let number = |tag: TiffCommonTag| {
                    let reason = || format!("no {tag:?}");
                    let entry = directory.get_entry(tag);
                    let missing = || RawError::Damaged { path: path(), reason: reason() };
                    entry.map(|entry| entry.force_usize(0)).ok_or_else(missing)
                };
                let samples = number(TiffCommonTag::SamplesPerPixel)?;
                let interpretation = number(TiffCommonTag::PhotometricInt)?;
                if samples != 1 || interpretation != CFA_INTERPRETATION {
                    let reason = "a DNG without a mosaic, demosaiced already".into();
                    return Err(RawError::Unsupported { path: path(), reason });
                }
                (number(TiffCommonTag::ImageWidth)?, number(TiffCommonTag::ImageLength)?)
            }
            // Without samples: rawler itself refuses more than 500 megapixels here.
            None => {
                let image = decoder
                    .raw_image(source, &RawDecodeParams::default(), true)
                    .map_err(|error| failed(name, error))?;
                (image.width, image.height)
            }
        };
        let pixels = (width as u128) * (height as u128);
        if pixels > u128::from(limits.max_pixels) {
            let max_pixels = limits.max_pixels;
            return Err(RawError::TooManyPixels { path: path(), width, height, max_pixels });
        }
        if pixels == 0 {
            let reason = format!("it says it is {width}x{height}");
            return Err(RawError::Damaged { path: path(), reason });
        }
        Ok(())
    }

    /// PhotometricInterpretation of a mosaic: TIFF/EP, DNG 1.7 chapter 4.
    const CFA_INTERPRETATION: usize = 32803;

    fn mosaic(image: RawImage, directory: Option<&IFD>, name: &Path) -> Result<Mosaic, RawError> {
        let path = || name.to_path_buf();
        let damaged = |reason: &str| RawError::Damaged { path: path(), reason: reason.into() };
        let unsupported = |reason: String| RawError::Unsupported { path: path(), reason };
        let (full_width, full_height) = (image.width, image.height);
        if image.cpp != 1 {
            return Err(unsupported("not a mosaic".into()));
        }
        if image.fuji_rotation_width.is_some() {
            return Err(unsupported("a sensor turned by 45 degrees".into()));
        }
        let RawImageData::Integer(all) = &image.data else {
            return Err(unsupported("floating point samples".into()));
        };
        if all.len() != full_width * full_height {
            return Err(RawError::Truncated { path: path() });
        }
        let whole = Part { top: 0, left: 0, height: full_height, width: full_width };
        let active = match image.active_area {
            None => whole,
            Some(area) => inside(&area, whole).ok_or_else(|| damaged("an absurd active area"))?,
        };
        let crop = match image.crop_area {
            None => Part { top: 0, left: 0, ..active },
            // A crop beyond the active area is cut, not refused: some cameras' do.
            Some(area) => {
                let area = inside(&area, whole).ok_or_else(|| damaged("an absurd crop"))?;
                within(area, active).ok_or_else(|| damaged("an absurd crop"))?
            }
        };
        let cfa = match directory {
            Some(directory) => dng_pattern(directory),
            None => Cfa::new(&image.camera.cfa.flat_pattern())
                .map(|cfa| cfa.shifted(active.top, active.left))
                .map_err(|error| error.to_string()),
        }
        .map_err(unsupported)?;
        let black = black_levels(&image, directory.is_some(), active);
        let mut samples = Vec::with_capacity(active.width * active.height);
        for row in all.chunks_exact(full_width).skip(active.top).take(active.height) {
            samples.extend_from_slice(&row[active.left..active.left + active.width]);
        }
        let [red, green, blue, _] = image.wb_coeffs;
        Ok(Mosaic {
            path: path(),
            width: active.width,
            height: active.height,
            samples,
            cfa,
            black,
            white: image.whitelevel.0.first().map_or(f32::NAN, |&level| level as f32),
            white_balance: [red / green, 1.0, blue / green],
            matrices: matrices(&image),
            baseline_exposure: 0.0,
            orientation: image.orientation.to_u16().try_into().unwrap_or(1),
            crop,
            exposure_time: None,
            camera: format!("{} {}", image.clean_make, image.clean_model).trim().to_owned(),
        })
    }

    /// A rectangle, if it lies in the picture and is not empty.
    fn inside(area: &Rect, whole: Part) -> Option<Part> {
        let (bottom, right) = (area.p.y.checked_add(area.d.h)?, area.p.x.checked_add(area.d.w)?);
        let fits = bottom <= whole.height && right <= whole.width && area.d.h > 0 && area.d.w > 0;
        fits.then_some(Part { top: area.p.y, left: area.p.x, height: area.d.h, width: area.d.w })
    }

    /// What two rectangles share, from the corner of `active`.
    fn within(area: Part, active: Part) -> Option<Part> {
        let (top, left) = (area.top.max(active.top), area.left.max(active.left));
        let bottom = (area.top + area.height).min(active.top + active.height);
        let right = (area.left + area.width).min(active.left + active.width);
        (bottom > top && right > left).then(|| Part {
            top: top - active.top,
            left: left - active.left,
            height: bottom - top,
            width: right - left,
        })
    }

    /// A DNG's pattern. It belongs to the active area; rawler gives that of the whole sensor, shifted
    /// the wrong way where the pattern is X-Trans.
    fn dng_pattern(directory: &IFD) -> Result<Cfa, String> {
        let entry = directory.get_entry(TiffCommonTag::CFAPattern).ok_or("no CFAPattern")?;
        let count = (entry.count() as usize).min(64);
        let colours: Vec<u8> = (0..count).map(|k| entry.force_u16(k).min(255) as u8).collect();
        Cfa::new(&colours).map_err(|error| error.to_string())
    }

    /// Black levels from the active area's first pixel on. A DNG's are given so; those of other files
    /// begin at the sensor's.
    fn black_levels(image: &RawImage, dng: bool, active: Part) -> BlackLevels {
        let black = &image.blacklevel;
        let (rows, columns) = (black.height.max(1), black.width.max(1));
        let (top, left) = if dng { (0, 0) } else { (active.top % rows, active.left % columns) };
        let level = |row: usize, column: usize| {
            let index = (row + top) % rows * columns + (column + left) % columns;
            black.levels.get(index).map_or(f32::NAN, |level| level.n as f32 / level.d as f32)
        };
        let places = (0..rows).flat_map(|row| (0..columns).map(move |column| (row, column)));
        BlackLevels { rows, columns, levels: places.map(|(r, c)| level(r, c)).collect() }
    }

    /// Matrices, those found under daylight first.
    fn matrices(image: &RawImage) -> Vec<CalibratedMatrix> {
        // Chromaticities (x, y) of CIE 15, 2 degrees. EXIF's names for weather stand for the
        // temperatures the DNG specification gives them; an unknown light is taken for D65, as LibRaw
        // does.
        let known = [
            (Illuminant::D65, D65),
            (Illuminant::Unknown, D65),
            (Illuminant::D55, [0.33242, 0.34743]),
            (Illuminant::Daylight, [0.33242, 0.34743]),
            (Illuminant::FineWeather, [0.33242, 0.34743]),
            (Illuminant::Flash, [0.33242, 0.34743]),
            (Illuminant::D50, [0.34567, 0.35850]),
            (Illuminant::D75, [0.29902, 0.31485]),
            (Illuminant::CloudyWeather, D65),
            (Illuminant::C, [0.31006, 0.31616]),
            (Illuminant::B, [0.34842, 0.35161]),
            (Illuminant::A, [0.44757, 0.40745]),
            (Illuminant::Tungsten, [0.44757, 0.40745]),
        ];
        let calibrated = |(light, illuminant): (Illuminant, [f64; 2])| {
            let flat = image.color_matrix.get(&light).filter(|flat| flat.len() == 9)?;
            let to_camera =
                std::array::from_fn(|r| std::array::from_fn(|c| f64::from(flat[3 * r + c])));
            Some(CalibratedMatrix { to_camera, illuminant })
        };
        known.into_iter().filter_map(calibrated).collect()
    }
}

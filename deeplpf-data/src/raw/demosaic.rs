//! The two missing colours of every pixel.
//!
//! Bayer: pattern grouping (PPG, Chuan-kai Lin 2003). X-Trans: Frank Markesteijn's interpolation in
//! three passes. Both by `rawler`, on white-balanced light, as their thresholds between colours
//! expect.

use super::{Mosaic, RawError};

/// Least side: smaller pictures are nobody's photographs.
const LEAST: usize = 16;

/// Red, green and blue of every pixel of the active area, row by row.
pub(super) fn demosaic(mosaic: &Mosaic) -> Result<Vec<[f32; 3]>, RawError> {
    let Mosaic { width, height, .. } = *mosaic;
    if width < LEAST || height < LEAST {
        return Err(RawError::TooSmall { path: mosaic.path.clone(), width, height, least: LEAST });
    }
    interpolate(mosaic)
}

#[cfg(feature = "raw")]
fn interpolate(mosaic: &Mosaic) -> Result<Vec<[f32; 3]>, RawError> {
    use rawler::CFA;
    use rawler::cfa::PlaneColor;
    use rawler::imgop::sensor::Demosaic;
    use rawler::imgop::sensor::{
        bayer::ppg::PPGDemosaic, xtrans::markesteijn::XTransMarkesteijnDemosaic,
    };
    use rawler::pixarray::PixF32;

    let (width, height) = (mosaic.width + 2 * MARGIN, mosaic.height + 2 * MARGIN);
    let light = PixF32::new_with(widened(mosaic), width, height);
    super::decode::without_panic(&mosaic.path, || {
        let (cfa, colours) = (CFA::new(&mosaic.cfa.to_string()), PlaneColor::default());
        let whole = light.rect();
        let rgb = if mosaic.cfa.is_bayer() {
            PPGDemosaic::new().demosaic(&light, &cfa, &colours, whole)
        } else {
            XTransMarkesteijnDemosaic::new_pass_3().demosaic(&light, &cfa, &colours, whole)
        };
        let rows = rgb.data.chunks_exact(width).skip(MARGIN).take(mosaic.height);
        Ok(rows.flat_map(|row| &row[MARGIN..MARGIN + mosaic.width]).copied().collect())
    })
}

/// Rows and columns added on each side. rawler interpolates the outermost 17 pixels of X-Trans with
/// less care; a multiple of both patterns' sides keeps the pattern where it is.
#[cfg(feature = "raw")]
const MARGIN: usize = 24;

/// The balanced mosaic, its outermost rows and columns of the pattern repeated over a margin.
#[cfg(feature = "raw")]
fn widened(mosaic: &Mosaic) -> Vec<f32> {
    let light = mosaic.balanced();
    let side = mosaic.cfa.side();
    // Where a row or column comes from: the nearest of the same place in the pattern.
    let source = |index: usize, length: usize| match index.checked_sub(MARGIN) {
        None => index % side,
        Some(inside) if inside < length => inside,
        Some(beyond) => beyond - (beyond - length) / side * side - side,
    };
    let columns: Vec<usize> =
        (0..mosaic.width + 2 * MARGIN).map(|column| source(column, mosaic.width)).collect();
    let mut wide = Vec::with_capacity(columns.len() * (mosaic.height + 2 * MARGIN));
    for row in 0..mosaic.height + 2 * MARGIN {
        let first = source(row, mosaic.height) * mosaic.width;
        wide.extend(columns.iter().map(|column| light[first + column]));
    }
    wide
}

#[cfg(not(feature = "raw"))]
fn interpolate(mosaic: &Mosaic) -> Result<Vec<[f32; 3]>, RawError> {
    Err(RawError::NotBuiltIn { path: mosaic.path.clone() })
}

//! The quality a JPEG was saved with, on libjpeg's scale.

/// Sum of the luminance table of ITU-T T.81, annex K.1, scaled to `quality` as libjpeg does
/// (`jpeg_quality_scaling` and `jpeg_add_quant_table` of jcparam.c).
fn table_sum(quality: u32) -> u32 {
    let scale = if quality < 50 { 5000 / quality } else { 200 - 2 * quality };
    LUMINANCE.iter().map(|&base| ((u32::from(base) * scale + 50) / 100).clamp(1, 255)).sum()
}

/// ITU-T T.81, table K.1.
#[rustfmt::skip]
const LUMINANCE: [u8; 64] = [
    16, 11, 10, 16, 24, 40, 51, 61,     12, 12, 14, 19, 26, 58, 60, 55,
    14, 13, 16, 24, 40, 57, 69, 56,     14, 17, 22, 29, 51, 87, 80, 62,
    18, 22, 37, 56, 68, 109, 103, 77,   24, 35, 55, 64, 81, 104, 113, 92,
    49, 64, 78, 87, 103, 121, 120, 101, 72, 92, 95, 98, 112, 100, 103, 99,
];

/// The quality whose luminance table is, in the sum, nearest to the one in a DQT segment (without
/// marker and length): exact for libjpeg's own tables, the same amount of compression for those of
/// cameras. `None` if the segment holds no luminance table (number 0).
pub(super) fn of_segment(mut segment: &[u8]) -> Option<u8> {
    while let Some((&head, rest)) = segment.split_first() {
        let (wide, number) = (head >> 4 == 1, head & 15);
        let (table, next) = rest.split_at_checked(if wide { 128 } else { 64 })?;
        if number == 0 {
            let sum: u32 = if wide {
                table.as_chunks::<2>().0.iter().map(|&v| u32::from(u16::from_be_bytes(v))).sum()
            } else {
                table.iter().map(|&v| u32::from(v)).sum()
            };
            let quality = (1..=100u32).rev().min_by_key(|&q| table_sum(q).abs_diff(sum))?;
            return u8::try_from(quality).ok();
        }
        segment = next;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::picture::container::Structure;
    use crate::picture::rendering::Metadata;
    use crate::picture::{SourceFormat, jpeg};

    #[test]
    fn what_was_written_is_found() {
        let metadata = Metadata { profile: vec![0; 200], exif: None };
        for quality in [5u8, 25, 49, 50, 60, 75, 85, 90, 95, 98, 100] {
            let mut file = Vec::new();
            let levels: Vec<u8> = (0..16 * 16 * 3).map(|v| (v % 251) as u8).collect();
            assert!(jpeg::write(&mut file, &levels, (16, 16), quality, &metadata).is_ok());
            assert_eq!(Structure::read(&file, SourceFormat::Jpeg).jpeg_quality, Some(quality));
        }
    }

    #[test]
    fn segments_that_are_cut_or_of_chrominance_alone_tell_nothing() {
        assert_eq!(of_segment(&[]), None);
        assert_eq!(of_segment(&[0; 30]), None);
        assert_eq!(of_segment(&[1; 65]), None);
        let both = [[1u8; 65], [0; 65]].concat();
        assert_eq!(of_segment(&both), Some(100));
    }
}

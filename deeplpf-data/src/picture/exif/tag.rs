//! Tags by number (EXIF 2.32, 4.6; TIFF 6.0).

pub(super) const IMAGE_WIDTH: u16 = 0x0100;
pub(super) const IMAGE_LENGTH: u16 = 0x0101;
pub(super) const STRIP_OFFSETS: u16 = 0x0111;
pub(super) const ORIENTATION: u16 = 0x0112;
pub(super) const STRIP_BYTE_COUNTS: u16 = 0x0117;
/// Where a JPEG thumbnail begins, and its length.
pub(super) const THUMBNAIL: u16 = 0x0201;
pub(super) const THUMBNAIL_LENGTH: u16 = 0x0202;
/// The directory of the photograph's settings.
pub(super) const EXIF_DIRECTORY: u16 = 0x8769;
pub(super) const GPS_DIRECTORY: u16 = 0x8825;
pub(super) const COLOR_SPACE: u16 = 0xA001;
pub(super) const PIXEL_X_DIMENSION: u16 = 0xA002;
pub(super) const PIXEL_Y_DIMENSION: u16 = 0xA003;
/// Inside the EXIF directory: the directory that names the rules for colour.
pub(super) const INTEROPERABILITY_DIRECTORY: u16 = 0xA005;
pub(super) const INTEROPERABILITY_INDEX: u16 = 0x0001;

/// Fields of the first directory that speak of the photograph and not of how its pixels are stored:
/// description, maker, model, resolution (282, 283, 296), software, date, artist, host computer,
/// rating, copyright, and Windows' title, comment, author, keywords, subject.
pub(super) const OF_THE_PHOTOGRAPH: [u16; 18] = [
    0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x013C, 0x4746, 0x4749,
    0x8298, 0x9C9B, 0x9C9C, 0x9C9D, 0x9C9E, 0x9C9F,
];

/// Of these, the resolution: alone it is no reason to make an EXIF block.
pub(super) const RESOLUTION: [u16; 3] = [0x011A, 0x011B, 0x0128];

//! ICC profiles written byte by byte, and the colours they stand for computed from published
//! matrices in f64: nothing here goes through the library under test or its colour engine.
//!
//! File layout: ICC.1:2001-04. Matrices: <http://www.brucelindbloom.com/Eqn_RGB_XYZ_Matrix.html>,
//! adapted to D50 with Bradford.

/// Columns are the XYZ (D50) of red, green and blue.
pub type Primaries = [[f64; 3]; 3];

pub const PRO_PHOTO: Primaries = [
    [0.797_674_9, 0.135_191_7, 0.031_353_4],
    [0.288_040_2, 0.711_874_1, 0.000_085_7],
    [0.0, 0.0, 0.825_210_0],
];
pub const ADOBE_RGB: Primaries = [
    [0.609_755_9, 0.205_240_1, 0.149_224_0],
    [0.311_124_2, 0.625_656_0, 0.063_219_7],
    [0.019_481_1, 0.060_890_2, 0.744_838_7],
];
pub const DISPLAY_P3: Primaries = [
    [0.515_102, 0.291_965, 0.157_153],
    [0.241_182, 0.692_236, 0.066_581_9],
    [-0.001_049_41, 0.041_881_8, 0.784_378],
];
pub const SRGB: Primaries = [
    [0.436_074_7, 0.385_064_9, 0.143_080_4],
    [0.222_504_5, 0.716_878_6, 0.060_616_9],
    [0.013_932_2, 0.097_104_5, 0.714_173_3],
];
/// XYZ (D50) to linear sRGB.
const TO_LINEAR_SRGB: Primaries = [
    [3.133_856_1, -1.616_866_7, -0.490_614_6],
    [-0.978_768_4, 1.916_141_5, 0.033_454_0],
    [0.071_945_3, -0.228_991_4, 1.405_242_7],
];

/// A tone curve.
#[derive(Clone, Copy)]
pub enum Curve {
    /// A pure power, in 256ths (461 is 1.80078125, what ProPhoto profiles carry for 1.8).
    Gamma256(u16),
    /// The sRGB formula as parameters.
    Srgb,
    /// The sRGB formula as a table of 1024 entries, as in the profile most cameras embed.
    SrgbTable,
}

impl Curve {
    pub fn to_linear(self, v: f64) -> f64 {
        match self {
            Self::Gamma256(gamma) => v.powf(f64::from(gamma) / 256.0),
            Self::Srgb | Self::SrgbTable => {
                if v <= 0.04045 {
                    v / 12.92
                } else {
                    ((v + 0.055) / 1.055).powf(2.4)
                }
            }
        }
    }

    fn tag(self) -> Vec<u8> {
        match self {
            Self::Gamma256(gamma) => {
                let mut tag = b"curv\0\0\0\0\0\0\0\x01".to_vec();
                tag.extend(gamma.to_be_bytes());
                tag.extend([0, 0]);
                tag
            }
            Self::Srgb => {
                let mut tag = b"para\0\0\0\0\0\x03\0\0".to_vec();
                for value in [2.4, 1.0 / 1.055, 0.055 / 1.055, 1.0 / 12.92, 0.04045] {
                    tag.extend(fixed(value));
                }
                tag
            }
            Self::SrgbTable => {
                let mut tag = b"curv\0\0\0\0\0\0\x04\0".to_vec();
                for i in 0..1024 {
                    let linear = Self::Srgb.to_linear(f64::from(i) / 1023.0);
                    tag.extend(((linear * 65535.0).round() as u16).to_be_bytes());
                }
                tag
            }
        }
    }
}

/// s15Fixed16.
fn fixed(value: f64) -> [u8; 4] {
    ((value * 65536.0).round() as i32).to_be_bytes()
}

fn xyz_tag(xyz: [f64; 3]) -> Vec<u8> {
    let mut tag = b"XYZ \0\0\0\0".to_vec();
    for value in xyz {
        tag.extend(fixed(value));
    }
    tag
}

fn profile(space: &[u8; 4], tags: &[(&[u8; 4], Vec<u8>)]) -> Vec<u8> {
    let mut table = (tags.len() as u32).to_be_bytes().to_vec();
    let mut data = Vec::new();
    let start = 128 + 4 + 12 * tags.len();
    for (name, tag) in tags {
        table.extend(*name);
        table.extend(((start + data.len()) as u32).to_be_bytes());
        table.extend((tag.len() as u32).to_be_bytes());
        data.extend(tag);
        data.resize(data.len().next_multiple_of(4), 0);
    }
    let mut header = vec![0u8; 128];
    header[0..4].copy_from_slice(&((start + data.len()) as u32).to_be_bytes());
    header[8..12].copy_from_slice(&[2, 0x40, 0, 0]);
    header[12..16].copy_from_slice(b"mntr");
    header[16..20].copy_from_slice(space);
    header[20..24].copy_from_slice(b"XYZ ");
    // 2026-01-01 00:00:00
    header[24..30].copy_from_slice(&[0x07, 0xEA, 0, 1, 0, 1]);
    header[36..40].copy_from_slice(b"acsp");
    for (at, value) in [(68, 0.9642), (72, 1.0), (76, 0.8249)] {
        header[at..at + 4].copy_from_slice(&fixed(value));
    }
    [header, table, data].concat()
}

/// A matrix and curve profile for RGB.
pub fn rgb(primaries: &Primaries, curve: Curve) -> Vec<u8> {
    let column = |k: usize| xyz_tag([primaries[0][k], primaries[1][k], primaries[2][k]]);
    profile(
        b"RGB ",
        &[
            (b"rXYZ", column(0)),
            (b"gXYZ", column(1)),
            (b"bXYZ", column(2)),
            (b"wtpt", xyz_tag([0.9642, 1.0, 0.8249])),
            (b"rTRC", curve.tag()),
            (b"gTRC", curve.tag()),
            (b"bTRC", curve.tag()),
        ],
    )
}

/// A curve profile for grey.
pub fn grey(curve: Curve) -> Vec<u8> {
    profile(b"GRAY", &[(b"wtpt", xyz_tag([0.9642, 1.0, 0.8249])), (b"kTRC", curve.tag())])
}

/// A profile that says CMYK.
pub fn cmyk() -> Vec<u8> {
    profile(b"CMYK", &[(b"wtpt", xyz_tag([0.9642, 1.0, 0.8249]))])
}

fn multiply(matrix: &Primaries, v: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

/// The sRGB encoding of a linear value, clipped to [0, 1].
pub fn encode_srgb(linear: f64) -> f64 {
    let v = linear.clamp(0.0, 1.0);
    if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 }
}

/// What a colour of the space is in sRGB, clipped.
pub fn to_srgb(primaries: &Primaries, curve: Curve, rgb: [f64; 3]) -> [f64; 3] {
    let xyz = multiply(primaries, rgb.map(|v| curve.to_linear(v)));
    multiply(&TO_LINEAR_SRGB, xyz).map(encode_srgb)
}

//! ICC profiles written byte by byte, and the colours they stand for computed in f64: nothing here
//! goes through the library under test or its colour engine.
//!
//! File layout: ICC.1:2001-04.

/// Columns are the XYZ (D50) of red, green and blue.
pub type Primaries = [[f64; 3]; 3];

/// The connection space's white.
const D50: [f64; 3] = [0.9642, 1.0, 0.8249];

/// As in Kodak's and Adobe's ProPhoto profiles.
pub const PRO_PHOTO: Primaries =
    [[0.7977, 0.1352, 0.0313], [0.2880, 0.7119, 0.0001], [0.0, 0.0, 0.8249]];
/// As in AdobeRGB1998.icc.
pub const ADOBE_RGB: Primaries = [
    [0.609_74, 0.205_28, 0.149_19],
    [0.311_11, 0.625_67, 0.063_22],
    [0.019_47, 0.060_87, 0.744_57],
];
/// As in Apple's Display P3 profile.
pub const DISPLAY_P3: Primaries = [
    [0.515_12, 0.291_98, 0.157_10],
    [0.241_20, 0.692_25, 0.066_57],
    [-0.001_05, 0.041_89, 0.784_07],
];
/// As in the sRGB IEC61966-2.1 profile that most cameras embed.
pub const SRGB: Primaries = [
    [0.436_07, 0.385_15, 0.143_07],
    [0.222_49, 0.716_87, 0.060_61],
    [0.013_92, 0.097_08, 0.714_10],
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
    for (at, value) in [(68, D50[0]), (72, D50[1]), (76, D50[2])] {
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
            (b"wtpt", xyz_tag(D50)),
            (b"rTRC", curve.tag()),
            (b"gTRC", curve.tag()),
            (b"bTRC", curve.tag()),
        ],
    )
}

/// A curve profile for grey.
pub fn grey(curve: Curve) -> Vec<u8> {
    profile(b"GRAY", &[(b"wtpt", xyz_tag(D50)), (b"kTRC", curve.tag())])
}

/// A profile of tables: an identity grid of two points per axis to Lab (`mft2`), so that every corner
/// of the RGB cube has the Lab colour given by `corner`, L in 0..=100, a and b in -128..=127.
pub fn tables(corner: impl Fn([u8; 3]) -> [f64; 3]) -> Vec<u8> {
    let mut tag = b"mft2\0\0\0\0\x03\x03\x02\0".to_vec();
    for value in [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0] {
        tag.extend(fixed(value));
    }
    // Two entries in each input and output curve.
    tag.extend([0, 2, 0, 2]);
    let straight = [0u8, 0, 0xFF, 0xFF].repeat(3);
    tag.extend(&straight);
    for k in 0..8u8 {
        let [l, a, b] = corner([k >> 2, k >> 1 & 1, k & 1]);
        // The legacy 16-bit encoding of ICC.1:2001: 100 is 0xFF00, and a, b are offset by 128.
        for value in [l * 652.8, (a + 128.0) * 256.0, (b + 128.0) * 256.0] {
            tag.extend((value.round() as u16).to_be_bytes());
        }
    }
    tag.extend(&straight);
    let mut file = profile(b"RGB ", &[(b"wtpt", xyz_tag(D50)), (b"A2B0", tag)]);
    file[20..24].copy_from_slice(b"Lab ");
    file
}

/// Lab (D50) to sRGB, clipped.
pub fn lab_to_srgb([l, a, b]: [f64; 3]) -> [f64; 3] {
    let fy = (l + 16.0) / 116.0;
    let f = [fy + a / 500.0, fy, fy - b / 200.0];
    let back = |f: f64| {
        if f > 6.0 / 29.0 { f.powi(3) } else { 3.0 * (6.0f64 / 29.0).powi(2) * (f - 4.0 / 29.0) }
    };
    let xyz = [0, 1, 2].map(|k| D50[k] * back(f[k]));
    multiply(&xyz_to_linear_srgb(), xyz).map(encode_srgb)
}

/// A profile that says CMYK.
pub fn cmyk() -> Vec<u8> {
    profile(b"CMYK", &[(b"wtpt", xyz_tag(D50))])
}

fn multiply(matrix: &Primaries, v: [f64; 3]) -> [f64; 3] {
    matrix.map(|row| row[0] * v[0] + row[1] * v[1] + row[2] * v[2])
}

/// The sRGB encoding of a linear value, clipped to [0, 1].
pub fn encode_srgb(linear: f64) -> f64 {
    let v = linear.clamp(0.0, 1.0);
    if v <= 0.003_130_8 { 12.92 * v } else { 1.055 * v.powf(1.0 / 2.4) - 0.055 }
}

fn inverse(m: &Primaries) -> Primaries {
    let cofactor = |r: usize, c: usize| {
        let (r1, r2, c1, c2) = ((r + 1) % 3, (r + 2) % 3, (c + 1) % 3, (c + 2) % 3);
        m[r1][c1] * m[r2][c2] - m[r1][c2] * m[r2][c1]
    };
    let determinant: f64 = (0..3).map(|c| m[0][c] * cofactor(0, c)).sum();
    [0, 1, 2].map(|r| [0, 1, 2].map(|c| cofactor(c, r) / determinant))
}

/// XYZ under D50 to linear sRGB, from the chromaticities of IEC 61966-2-1 and Bradford's cone
/// responses (ICC.1:2022, annex E).
fn xyz_to_linear_srgb() -> Primaries {
    const BRADFORD: Primaries =
        [[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]];
    let xyz = |(x, y): (f64, f64)| [x / y, 1.0, (1.0 - x - y) / y];
    let white = xyz((0.3127, 0.3290));
    let primaries = [(0.64, 0.33), (0.30, 0.60), (0.15, 0.06)].map(xyz);
    let columns = [0, 1, 2].map(|r| [0, 1, 2].map(|c| primaries[c][r]));
    let amounts = multiply(&inverse(&columns), white);
    let (from, to) = (multiply(&BRADFORD, white), multiply(&BRADFORD, D50));
    let adapted = [0, 1, 2].map(|c| {
        let cones = multiply(&BRADFORD, primaries[c].map(|v| v * amounts[c]));
        multiply(&inverse(&BRADFORD), [0, 1, 2].map(|k| cones[k] * to[k] / from[k]))
    });
    inverse(&[0, 1, 2].map(|r| [0, 1, 2].map(|c| adapted[c][r])))
}

/// What a colour of the space is in sRGB, clipped.
pub fn to_srgb(primaries: &Primaries, curve: Curve, rgb: [f64; 3]) -> [f64; 3] {
    let xyz = multiply(primaries, rgb.map(|v| curve.to_linear(v)));
    multiply(&xyz_to_linear_srgb(), xyz).map(encode_srgb)
}

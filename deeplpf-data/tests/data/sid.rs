//! See-in-the-Dark against arrays made by its definition: see `fixtures/raw/make.py`.

use deeplpf_data::raw::{Mosaic, RawError};
use deeplpf_data::sid::{
    Exposures, Packing, SidError, SidInput, SidPair, SidProtocol, SidSet, list, pack,
};
use deeplpf_data::{DecodeLimits, feed::PlanarBatch, feed::Preparation};
use ndarray::{Array3, s};

use crate::common::SplitMix;
use crate::raw::{fixture, libraw, psnr};

fn set(name: &str) -> SidSet {
    SidSet::open(fixture("sid"), name.parse().unwrap()).unwrap()
}

fn pair(name: &str, input: SidInput) -> SidPair {
    let protocol: SidProtocol = name.parse().unwrap();
    let set = SidSet::open(fixture("sid"), protocol.with_input(input)).unwrap();
    set.train[0].load().unwrap()
}

/// A NumPy file of 32-bit floats in three dimensions.
fn npy(name: &str, shape: (usize, usize, usize)) -> Array3<f32> {
    let bytes = std::fs::read(fixture(name)).unwrap();
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = String::from_utf8_lossy(&bytes[10..10 + header]).replace(' ', "");
    assert!(text.contains(&format!("({},{},{})", shape.0, shape.1, shape.2)), "{text}");
    let values = bytes[10 + header..].chunks_exact(4);
    let values = values.map(|v| f32::from_le_bytes([v[0], v[1], v[2], v[3]])).collect();
    Array3::from_shape_vec(shape, values).unwrap()
}

#[test]
fn packed_inputs_are_those_of_the_authors_program_golden() {
    for (name, camera, shape) in
        [("sid-sony", "Sony", (4, 40, 56)), ("sid-fuji", "Fuji", (9, 32, 40))]
    {
        let pair = pair(name, SidInput::Packed);
        assert_eq!((pair.id.as_str(), pair.amplification), ("00001_00_0.1s", 100.0));
        let expected = npy(&format!("sid/{camera}/packed.npy"), shape);
        assert_eq!(pair.input.dim(), shape);
        for (place, &value) in pair.input.indexed_iter() {
            // The same two roundings, of a quotient and of a product, in another order at most.
            assert!((value - expected[place]).abs() <= 1.2e-7 * 2.0, "{name} {place:?}");
        }
        let scale = pair.scale();
        assert_eq!(pair.target.dim(), (3, shape.1 * scale, shape.2 * scale));
    }
}

#[test]
fn targets_are_close_to_libraw_golden() {
    // LibRaw's default for Bayer is another interpolation (AHD) than ours.
    for (name, camera, least) in [("sid-sony", "Sony", 35.5), ("sid-fuji", "Fuji", 35.0)] {
        let pair = pair(name, SidInput::Packed);
        let theirs = libraw(&format!("sid/{camera}/target.libraw.tif"));
        let value = psnr(pair.target.view(), theirs.view(), 8);
        println!("{name}: {value:.2} dB to LibRaw");
        assert!(value > least, "{name}: {value} dB");
    }
}

#[test]
fn rgb_inputs_look_like_their_target() {
    for name in ["sid-sony", "sid-fuji"] {
        let pair = pair(name, SidInput::Rgb);
        assert_eq!((pair.input.dim(), pair.scale()), (pair.target.dim(), 1));
        // The noise of the short exposure, a hundredfold.
        let value = psnr(pair.input.view(), pair.target.view(), 8);
        assert!((10.0..35.0).contains(&value), "{name}: {value} dB");
    }
}

#[test]
fn packing_finds_the_pattern() {
    let limits = DecodeLimits::default();
    let whole = Mosaic::open(fixture("bayer.dng"), &limits).unwrap();
    let cut = Mosaic::open(fixture("active-area.dng"), &limits).unwrap();
    let levels = pack::Levels { black: 600.0, white: 16383.0 };
    assert_eq!(Packing::Bayer.part(&cut).unwrap(), [1, 1, 92, 118]);
    let cut = pack(&cut, Packing::Bayer, levels, 1.0).unwrap();
    let whole_planes = pack(&whole, Packing::Bayer, levels, 1.0).unwrap();
    assert_eq!(cut, whole_planes.slice(s![.., 1..47, 3..62]));
    let error = pack(&whole, Packing::XTrans, levels, 1.0).unwrap_err();
    assert!(matches!(error, RawError::Pattern { .. }), "{error}");
    assert!(error.to_string().contains("RGGB, where X-Trans is needed"), "{error}");
}

/// Every sample goes to exactly one place.
#[test]
fn packing_loses_nothing() {
    let mut mosaic = Mosaic::open(fixture("xtrans.dng"), &DecodeLimits::default()).unwrap();
    let count = mosaic.samples.len();
    mosaic.samples.iter_mut().enumerate().for_each(|(k, sample)| *sample = k as u16);
    for (packing, pattern) in
        [(Packing::XTrans, mosaic.cfa.clone()), (Packing::Bayer, "RGGB".parse().unwrap())]
    {
        mosaic.cfa = pattern;
        let levels = pack::Levels { black: 0.0, white: 65536.0 };
        let planes = pack(&mosaic, packing, levels, 1.0).unwrap();
        let mut seen: Vec<usize> =
            planes.iter().map(|&v| (f64::from(v) * 65536.0).round() as usize).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..count).collect::<Vec<_>>());
    }
}

#[test]
fn exposures_come_from_names_and_the_ratio_is_capped() {
    let seconds = |name: &str| list::seconds(name.as_ref());
    assert_eq!(seconds("./Fuji/short/10019_01_0.033s.RAF"), Some(0.033));
    assert_eq!(seconds("20015_00_10s.dng"), Some(10.0));
    for name in ["10019_01_0.033.RAF", "10019_s.RAF", "a_00_1s.RAF", "1_2_1e3s.RAF", "1_2_0s.RAF"] {
        assert_eq!(seconds(name), None, "{name}");
    }
    assert_eq!(Exposures { short: 0.1, long: 10.0 }.amplification(), 100.0);
    assert_eq!(Exposures { short: 0.033, long: 10.0 }.amplification(), 300.0);
}

#[test]
fn exposures_may_come_from_exif() {
    let folder = tempfile::tempdir().unwrap();
    let mut files = set("sid-sony").train[0].clone();
    let copy = |from: &std::path::Path, name: &str| {
        let to = folder.path().join(name);
        std::fs::copy(from, &to).unwrap();
        to
    };
    files.short = copy(&files.short, "short.dng");
    files.long = copy(&files.long, "long.dng");
    assert_eq!(files.load().unwrap().amplification, 100.0);
}

#[test]
fn lists_are_read_as_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("Sony_train_list.txt");
    let line = "./Sony/short/00001_00_0.04s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F8";
    let other = line.replace("_00_0.04", "_01_0.04");
    std::fs::write(&path, format!("\u{feff}{line}\r\n\r\n  {other}\r\n")).unwrap();
    let entries = list::read_list(&path).unwrap();
    assert_eq!(entries.len(), 2);
    assert_eq!((entries[0].iso, entries[0].aperture, entries[1].line), (200, 8.0, 3));
    assert_eq!(entries[1].id(), "00001_01_0.04s");
    for (text, expected) in [
        (
            format!("{line}\n{line}\n"),
            ":2: Sony/short/00001_00_0.04s.ARW is listed already at line 1",
        ),
        ("a0001\n".into(), ":1: 'a0001' is not 'SHORT LONG ISO F-NUMBER'"),
        (line.replace("ISO200", "200"), "is not 'SHORT LONG"),
        (line.replace("./Sony/short", "../../etc"), "is not 'SHORT LONG"),
        (line.replace("./Sony/short", "/etc"), "is not 'SHORT LONG"),
        (format!("{line} more"), "is not 'SHORT LONG"),
    ] {
        std::fs::write(&path, text).unwrap();
        let error = list::read_list(&path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    std::fs::write(&path, [0xff, 0xfe, 0x00]).unwrap();
    assert!(matches!(list::read_list(&path), Err(SidError::List { .. })));
}

#[test]
fn missing_files_and_lists_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let open = || SidSet::open(folder.path(), "sid-sony".parse().unwrap());
    let error = open().unwrap_err().to_string();
    assert!(error.contains("Sony_train_list.txt cannot be read"), "{error}");
    let line = "./Sony/short/00001_00_0.04s.ARW ./Sony/long/00001_00_10s.ARW ISO200 F8\n";
    std::fs::write(folder.path().join("Sony_train_list.txt"), line).unwrap();
    let error = open().unwrap_err().to_string();
    assert!(error.contains("00001_00_0.04s.ARW is not there, nor as .dng"), "{error}");
    std::fs::write(folder.path().join("Sony_train_list.txt"), "\n").unwrap();
    assert!(matches!(open(), Err(SidError::EmptyList { .. })));
    let error = "sid-nikon".parse::<SidProtocol>().unwrap_err().to_string();
    assert!(error.contains("use sid-sony or sid-fuji"), "{error}");
}

#[test]
fn exposures_of_different_cameras_are_no_pair() {
    let mut files = set("sid-sony").train[0].clone();
    files.long = set("sid-fuji").train[0].long.clone();
    assert!(matches!(files.load(), Err(SidError::NoPair { .. })));
}

/// Input and target are cut and mirrored together, the target at its own scale.
#[test]
fn batches_keep_input_and_target_together() {
    let mut pair = pair("sid-fuji", SidInput::Packed);
    // Both show where they are.
    let place = |row: usize, column: usize| (100 * row + column) as f32;
    pair.input.indexed_iter_mut().for_each(|((_, r, c), v)| *v = place(r, c));
    pair.target.indexed_iter_mut().for_each(|((_, r, c), v)| *v = place(r / 3, c / 3));
    for seed in 0..8 {
        let mut batch = PlanarBatch::default();
        let preparation = Preparation { crop: 12, flips: true, ..Preparation::default() };
        batch.push_sid(&pair, &preparation, &mut SplitMix(seed)).unwrap();
        batch.push_sid(&pair, &preparation, &mut SplitMix(seed + 100)).unwrap();
        assert_eq!((batch.shape, batch.target_shape()), ([2, 9, 12, 12], [2, 3, 36, 36]));
        for n in 0..2 {
            let input = &batch.input[n * 9 * 144..];
            let target = &batch.target[n * 3 * 1296..];
            for (r, c) in (0..36).flat_map(|r| (0..36).map(move |c| (r, c))) {
                assert_eq!(target[r * 36 + c], input[r / 3 * 12 + c / 3]);
            }
        }
    }
}

//! The lists themselves: published ones as files, ranges of ids as ranges.

use std::ops::RangeInclusive;

/// Deep Photo Enhancer, `train_input.txt`. See `splits/README.md` for all three.
const DPE_TRAIN: &str = include_str!("../../splits/dpe/train.txt");
/// Deep Photo Enhancer, `train_label.txt`.
const DPE_VALID: &str = include_str!("../../splits/dpe/valid.txt");
/// Deep Photo Enhancer, `test.txt`.
const DPE_TEST: &str = include_str!("../../splits/dpe/test.txt");

/// Training, validation and test ids.
pub(super) type Lists = [Vec<String>; 3];

pub(super) fn dpe() -> Lists {
    [DPE_TRAIN, DPE_VALID, DPE_TEST].map(ids)
}

/// The lists of the DeepLPF release before September 2026.
pub(super) fn dpe_id_order() -> Lists {
    [range(1..=2250), range(2251..=4500), range(4501..=5000)]
}

pub(super) fn upe() -> Lists {
    [range(1..=4500), Vec::new(), range(4501..=5000)]
}

/// Image-Adaptive-3DLUT trains on both halves of DPE's training pictures.
pub(super) fn lut480() -> Lists {
    let [mut train, valid, test] = dpe();
    train.extend(valid);
    [train, Vec::new(), test]
}

fn ids(list: &str) -> Vec<String> {
    list.lines().map(str::to_owned).collect()
}

fn range(numbers: RangeInclusive<u16>) -> Vec<String> {
    numbers.map(|number| format!("a{number:04}")).collect()
}

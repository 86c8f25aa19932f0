//! The loss and its gradient against the authors' program in f64.

mod common;

use std::path::Path;

use candle_core::{DType, Device, Tensor, Var, safetensors::load};
use common::{Report, differences, golden_folder};
use deeplpf_core::{
    Fix, Fixes, LossConfig, loss,
    loss::{LastScale, ms_ssim, scaled_lab},
};

/// `bounds`: of the values, and of the gradient relative to its largest entry.
fn compare(dtype: DType, bounds: (f64, f64)) {
    let full = golden_folder();
    let (file, cases) = match &full {
        Some(folder) => (folder.join("loss_f64.safetensors"), 3),
        None => {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
            (folder.join("loss_f64_case0.safetensors"), 1)
        }
    };
    let golden = load(file, &Device::Cpu).unwrap();
    let mut report = Report::default();
    for case in 0..cases {
        let get = |name: &str| golden[&format!("{case}.{name}")].clone();
        let scalar = |name: &str| get(name).to_vec1::<f64>().unwrap()[0];
        let prediction = Var::from_tensor(&get("prediction").to_dtype(dtype).unwrap()).unwrap();
        let target = get("target").to_dtype(dtype).unwrap();
        for (variant, fixes) in [("release", Fixes::NONE), ("fixed", Fixes::NONE.with(Fix::Msssim))]
        {
            let label = |what: &str| format!("{case}.{variant}.{what}");
            let value = loss(&prediction, &target, &LossConfig::default(), fixes).unwrap();
            let total = value.total.to_dtype(DType::F64).unwrap().to_scalar::<f64>().unwrap();
            report.at_most(
                &label("loss"),
                (total - scalar(&format!("{variant}.loss"))).abs(),
                bounds.0,
            );
            let gradients = value.total.backward().unwrap();
            let golden = get(&format!("{variant}.grad.prediction"));
            let largest = golden.abs().unwrap().max_all().unwrap().to_scalar::<f64>().unwrap();
            let (worst, _) = differences(gradients.get(&prediction).unwrap(), &golden);
            report.at_most(&label("gradient / largest"), worst / largest, bounds.1);
        }
        // The parts, of the first image.
        let (_, _, height, width) = target.dims4().unwrap();
        let first = |tensor: &Tensor| {
            let image = tensor.get(0).unwrap().to_dtype(DType::F64).unwrap();
            scaled_lab::<f64>(&image.flatten_all().unwrap().to_vec1().unwrap())
        };
        let (ours, theirs) = (first(&prediction), first(&target));
        let lab = get("lab_scaled_first_prediction").flatten_all().unwrap();
        let worst = ours
            .iter()
            .zip(&lab.to_vec1::<f64>().unwrap())
            .map(|(a, b)| (a - b).abs())
            .fold(0.0, |worst, d| if d <= worst { worst } else { d });
        report.at_most(&format!("{case}.lab"), worst, bounds.0);
        for (variant, last) in [("release", LastScale::FourTimes), ("fixed", LastScale::Once)] {
            let pixels = height * width;
            let value = ms_ssim(&ours[..pixels], &theirs[..pixels], (height, width), last).0;
            let golden = scalar(&format!("{variant}.msssim_L_first_image"));
            report.at_most(&format!("{case}.{variant}.ms_ssim"), (value - golden).abs(), bounds.0);
        }
    }
    report.finish();
}

#[test]
fn golden_loss_f64() {
    compare(DType::F64, (1e-9, 1e-9));
}

/// Single precision keeps seven digits; the gradient's worst pixel lies where a Lab difference is
/// within rounding of zero and its sign is lost, or where the local variance cancels.
#[test]
fn golden_loss_f32() {
    compare(DType::F32, (1e-5, 1e-4));
}

//! The inference engine against the authors' program (random weights, evaluation mode, f64).

mod common;

use candle_core::{DType, Device, IndexOp, Tensor, safetensors::load};
use common::{Report, golden_folder};
use deeplpf_core::{Checkpoint, Enhancer};
use ndarray::Array3;

fn numbers(tensor: &Tensor) -> Vec<f64> {
    tensor.to_dtype(DType::F64).unwrap().flatten_all().unwrap().to_vec1().unwrap()
}

fn differences(found: &[f32], golden: &[f64]) -> (f64, f64) {
    assert_eq!(found.len(), golden.len());
    let all = found.iter().zip(golden).map(|(&found, golden)| (f64::from(found) - golden).abs());
    let most = all.clone().fold(0.0, |most, d| if d <= most { most } else { d });
    (most, all.sum::<f64>() / golden.len() as f64)
}

/// Tighter than the network's own f32 pass; the authors' program in single precision is
/// itself up to 4e-6 (output) and 4e-7 (rest) from its double precision.
#[test]
fn golden_engine() {
    let Some(folder) = golden_folder() else { return };
    let checkpoint = Checkpoint::read(&folder.join("network_state_dict.pt")).unwrap();
    let model = checkpoint.model(None, DType::F32, &Device::Cpu).unwrap();
    let enhancer = Enhancer::new(model).unwrap();
    let inputs = load(folder.join("network_inputs_f32.safetensors"), &Device::Cpu).unwrap();
    let golden = load(folder.join("network_f64.safetensors"), &Device::Cpu).unwrap();
    let mut report = Report::default();
    for case in 0..4 {
        let input = &inputs[&format!("{case}.input")];
        let (batch, channels, height, width) = input.dims4().unwrap();
        for n in 0..batch {
            let image = input.i(n).unwrap().flatten_all().unwrap().to_vec1::<f32>().unwrap();
            let image = Array3::from_shape_vec((channels, height, width), image).unwrap();
            let enhanced = enhancer.enhance(image.view()).unwrap();
            let raw = &enhanced.parameters.raw;
            for (name, start, length) in [
                ("cubic_params", 0, 60),
                ("graduated_params", 60, 24),
                ("elliptical_params", 84, 24),
            ] {
                let golden = numbers(&golden[&format!("{case}.{name}")].i(n).unwrap());
                let most = differences(&raw[start..start + length], &golden).0;
                report.at_most(&format!("{case}.{name}[{n}] max"), most, 1e-6);
            }
            let golden = numbers(&golden[&format!("{case}.output")].i(n).unwrap());
            let (most, mean) = differences(enhanced.image.as_slice().unwrap(), &golden);
            report.at_most(&format!("{case}.output[{n}] max"), most, 5e-6);
            report.at_most(&format!("{case}.output[{n}] mean"), mean, 2e-7);
        }
    }
    report.finish();
}

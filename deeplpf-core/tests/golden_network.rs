//! The whole network against the authors' program (random weights, evaluation mode, f64).

mod common;

use candle_core::{DType, Device, Tensor, safetensors::load};
use common::{Report, differences, golden_folder};
use deeplpf_core::{Checkpoint, Mode, Prediction, checkpoint::write_safetensors};

/// One image at a time or as golden holds them, on the CPU.
fn predict(model: &deeplpf_core::Model, input: &Tensor) -> Prediction {
    let input = input.to_dtype(model.parameters().dtype()).unwrap();
    model.forward(&input, Mode::Evaluate).unwrap()
}

fn compare(dtype: DType, parameter_bound: f64, output_bounds: (f64, f64)) {
    let Some(folder) = golden_folder() else { return };
    let checkpoint = Checkpoint::read(&folder.join("network_state_dict.pt")).unwrap();
    let model = checkpoint.model(None, dtype, &Device::Cpu).unwrap();
    assert_eq!(model.parameters().count(), 1_769_347);
    let inputs = load(folder.join("network_inputs_f32.safetensors"), &Device::Cpu).unwrap();
    let golden = load(folder.join("network_f64.safetensors"), &Device::Cpu).unwrap();
    let mut report = Report::default();
    for case in 0..4 {
        let prediction = predict(&model, &inputs[&format!("{case}.input")]);
        let mut check = |name: &str, ours: &Tensor, bound: f64| {
            if let Some(golden) = golden.get(&format!("{case}.{name}")) {
                report.at_most(&format!("{case}.{name} max"), differences(ours, golden).0, bound);
            }
        };
        check("backbone_image", &prediction.backbone_image, parameter_bound);
        for (name, start, length) in
            [("cubic_params", 0, 60), ("graduated_params", 60, 24), ("elliptical_params", 84, 24)]
        {
            let part = prediction.raw.narrow(1, start, length).unwrap();
            check(name, &part, parameter_bound);
        }
        check("output", &prediction.output, output_bounds.0);
        let mean = differences(&prediction.output, &golden[&format!("{case}.output")]).1;
        report.at_most(&format!("{case}.output mean"), mean, output_bounds.1);
    }
    report.finish();
}

/// Double precision separates the formulas from rounding.
#[test]
fn golden_network_f64() {
    compare(DType::F64, 1e-10, (1e-10, 1e-10));
}

/// The authors' program in single precision is itself up to 4e-6 (output) and 4e-7 (rest) from its
/// double precision.
#[test]
fn golden_network_f32() {
    compare(DType::F32, 2e-6, (2e-5, 5e-7));
}

/// A state dict and its conversion are the same model to the bit.
#[test]
fn golden_network_pt_and_safetensors_agree() {
    let Some(folder) = golden_folder() else { return };
    let checkpoint = Checkpoint::read(&folder.join("network_state_dict.pt")).unwrap();
    let model = checkpoint.model(None, DType::F32, &Device::Cpu).unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("converted.safetensors");
    write_safetensors(&model, &file).unwrap();
    let converted = Checkpoint::read(&file).unwrap().model(None, DType::F32, &Device::Cpu).unwrap();
    let inputs = load(folder.join("network_inputs_f32.safetensors"), &Device::Cpu).unwrap();
    let input = &inputs["3.input"];
    let [a, b] = [&model, &converted]
        .map(|model| predict(model, input).output.flatten_all().unwrap().to_vec1::<f32>().unwrap());
    assert!(a.iter().zip(&b).all(|(a, b)| a.to_bits() == b.to_bits()));
}

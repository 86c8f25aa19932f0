//! What a checkpoint does to one photograph.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
};

use candle_core::Tensor;
use deeplpf_core::{
    Checkpoint, CoreError, DType, Device, Enhancer, Fixes, Mode, ModelConfig, Precision,
    PredictedParameters,
};
use deeplpf_data::{atomic_file, decode};
use deeplpf_eval::{
    FilterDrawing,
    maps::filter_effects,
    plot::{HeatMap, Plot},
    reduced,
};
use deeplpf_filters::{Dialect, FilterStack};
use ndarray::{Array3, ArrayView3};
use serde::Serialize;

use crate::{ExperimentError, Result, placement::place_enhancer};

/// Longest side of the picture with the filters.
const PICTURE_EDGE: u32 = 1600;
/// Longest side of the maps. The polynomial filter's map needs the network's features of a
/// photograph of this size in memory.
const MAP_EDGE: u32 = 1024;

/// What to inspect and where to put it.
#[derive(Clone, Debug)]
pub struct InspectionRequest {
    /// The photograph.
    pub photograph: PathBuf,
    /// The checkpoint.
    pub weights: Checkpoint,
    /// The folder of the results; created.
    pub out: PathBuf,
    /// `auto`, `cpu` or `cuda:N`.
    pub device: String,
    /// Numbers of the convolutions on a GPU; the CPU computes in single precision.
    pub precision: Precision,
    /// The configuration of a checkpoint that carries none.
    pub model: Option<ModelConfig>,
}

/// What was written.
#[derive(Clone, Debug)]
pub struct InspectionSummary {
    /// The folder.
    pub out: PathBuf,
    /// Names of the files in it.
    pub files: Vec<String>,
}

impl fmt::Display for InspectionSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.out.display(), self.files.join(", "))
    }
}

/// What `params.json` holds: the form of `deeplpf enhance --save-params`, and the size of the copy
/// the maps show.
#[derive(Serialize)]
struct ParametersFile<'a> {
    input: String,
    width: usize,
    height: usize,
    weights: String,
    dialect: Dialect,
    fixes: Fixes,
    map_width: usize,
    map_height: usize,
    #[serde(flatten)]
    parameters: &'a PredictedParameters,
}

/// Enhances one photograph and writes `filters.png` (the result with the predicted filters drawn
/// over it), a map of each filter's effect (`polynomial`, `graduated` and `elliptical`, as SVG and
/// PNG) and `params.json`.
///
/// The parameters are those of the photograph at its own size. The maps show them on a copy of at
/// most 1024 pixels: exactly for the graduated and elliptical filters, which depend on the place
/// only; the polynomial filter's also depends on Y1, which is the network's of the copy, computed on
/// the CPU. `announce` is given one sentence at a time for the user.
///
/// # Errors
/// A photograph or checkpoint that cannot be used, or a folder that cannot be written.
pub fn inspect(
    request: &InspectionRequest,
    announce: &mut dyn FnMut(&str),
) -> Result<InspectionSummary> {
    let photograph = decode(&request.photograph)?.pixels;
    let enhancer = place_enhancer(
        &request.weights,
        request.model.as_ref(),
        &request.device,
        request.precision,
        announce,
    )?
    .computes;
    let enhancement = enhancer.enhance(photograph.view())?;
    let parameters = &enhancement.parameters;
    let config = enhancer.model().config();
    let (_, height, width) = photograph.dim();
    let copy = reduced(photograph.view(), MAP_EDGE)?;
    let y1 = filter_input(&enhancer, copy.view())?;
    let stack = FilterStack::from_raw(&config.stack(), &parameters.raw)?;
    let effects = filter_effects(&stack, y1.view())?;

    fs::create_dir_all(&request.out).map_err(ExperimentError::io("create", &request.out))?;
    let mut files = Vec::new();
    let mut write = |name: String, bytes: &[u8]| -> Result<()> {
        let path = request.out.join(&name);
        atomic_file::write(&path, bytes).map_err(ExperimentError::io("write", &path))?;
        files.push(name);
        Ok(())
    };
    let drawing = FilterDrawing::new(&config.stack(), &parameters.filters, (width, height));
    write("filters.png".into(), &drawing.to_png_over(enhancement.image.view(), PICTURE_EDGE)?)?;
    let name = file_name(&request.photograph);
    for effect in effects {
        let filter = effect.filter;
        let map = HeatMap::of_effect(format!("{name}: {filter} filter"), effect);
        write(format!("{filter}.png"), &map.to_png()?)?;
        write(format!("{filter}.svg"), map.to_svg()?.as_bytes())?;
    }
    let (_, map_height, map_width) = copy.dim();
    let file = ParametersFile {
        input: name,
        width,
        height,
        weights: file_name(&request.weights.path),
        dialect: config.dialect,
        fixes: config.fixes,
        map_width,
        map_height,
        parameters,
    };
    let json = serde_json::to_string_pretty(&file).map_err(|error| ExperimentError::Record {
        path: request.out.join("params.json"),
        reason: error.to_string(),
    })?;
    write("params.json".into(), (json + "\n").as_bytes())?;
    Ok(InspectionSummary { out: request.out.clone(), files })
}

/// The image the filters are applied to, `3 x H x W`.
fn filter_input(enhancer: &Enhancer, image: ArrayView3<'_, f32>) -> Result<Array3<f32>> {
    let model = enhancer.model();
    let (_, height, width) = image.dim();
    let values: Vec<f32> = image.iter().copied().collect();
    let compute = || -> std::result::Result<Vec<f32>, CoreError> {
        let x = Tensor::from_vec(values, (1, 3, height, width), &Device::Cpu)?
            .to_dtype(model.parameters().dtype())?
            .to_device(model.parameters().device())?;
        let y1 = model.forward(&x, Mode::Evaluate)?.filter_input;
        Ok(y1.to_dtype(DType::F32)?.to_device(&Device::Cpu)?.flatten_all()?.to_vec1()?)
    };
    Array3::from_shape_vec((3, height, width), compute()?).map_err(|error| {
        ExperimentError::Core(CoreError::Shape {
            what: "filter input",
            found: vec![3, height, width],
            expected: error.to_string(),
        })
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

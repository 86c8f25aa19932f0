//! How well a model found the filters that made its test pairs, where they are known.

use std::{collections::BTreeMap, path::Path};

use deeplpf_data::{
    atomic_file, sample,
    synthetic::{Recovery, Truth},
};
use deeplpf_train::PairSource;
use serde::Serialize;

use crate::{ExperimentError, Result, record::RunRecord};

/// `recovery.json`.
#[derive(Serialize)]
struct RecoveryFile {
    /// Means over the pictures.
    mean: Means,
    pictures: BTreeMap<String, Recovery>,
}

/// Means of the fields of [`Recovery`] of these names, and of those of its instances.
#[derive(Serialize)]
struct Means {
    scale_map: f64,
    scale_map_of_neutral: f64,
    polynomial: f64,
    polynomial_of_neutral: f64,
    instance_map: Option<f64>,
}

/// Where the filters behind the pairs of a folder (`None`: the sample set) are known, writes
/// `recovery.json` into `out` and returns a sentence for tables and report.
pub(crate) fn write(
    folder: Option<&Path>,
    pairs: &PairSource,
    record: &RunRecord,
    out: &Path,
) -> Result<Option<String>> {
    let truth = match folder {
        None => Some(sample::truth()?),
        Some(folder) => Truth::read_folder(folder)?,
    };
    let Some(truth) = truth else { return Ok(None) };
    let config = record.config.stack();
    let mut pictures = BTreeMap::new();
    for index in 0..pairs.len() {
        let id = pairs.id(index);
        // A picture that was put into the folder by somebody else.
        let (Some(look), Some(photograph)) = (truth.look_of(id), record.photographs.get(id)) else {
            return Ok(None);
        };
        let params = photograph.filters.map(f64::from);
        let input = pairs.load(index)?.input;
        let recovery = Recovery::measure(&config, &params, &look, input.view())?;
        pictures.insert(id.to_owned(), recovery);
    }
    let mean = |of: &dyn Fn(&Recovery) -> f64| {
        pictures.values().map(of).sum::<f64>() / pictures.len() as f64
    };
    let instances: Vec<f64> =
        pictures.values().flat_map(|r| r.instances.iter().map(|i| i.map)).collect();
    let mean = Means {
        scale_map: mean(&|r| r.scale_map),
        scale_map_of_neutral: mean(&|r| r.scale_map_of_neutral),
        polynomial: mean(&|r| r.polynomial),
        polynomial_of_neutral: mean(&|r| r.polynomial_of_neutral),
        instance_map: (!instances.is_empty())
            .then(|| instances.iter().sum::<f64>() / instances.len() as f64),
    };
    let sentence = format!(
        "Filters known: the predicted scale map is {:.3} from the true one in the mean (no filters: \
         {:.3}), the polynomial's result {:.3} (no polynomial: {:.3}); single filters are in \
         recovery.json.",
        mean.scale_map, mean.scale_map_of_neutral, mean.polynomial, mean.polynomial_of_neutral
    );
    let path = out.join("recovery.json");
    let json = serde_json::to_string_pretty(&RecoveryFile { mean, pictures }).map_err(|error| {
        ExperimentError::Record { path: path.clone(), reason: error.to_string() }
    })?;
    atomic_file::write(&path, (json + "\n").as_bytes())
        .map_err(ExperimentError::io("write", &path))?;
    Ok(Some(sentence))
}

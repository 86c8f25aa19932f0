//! The record of an evaluation: everything a report needs, in one folder.
//!
//! `record/record.json` says what was evaluated on what, with every score and every predicted
//! filter; beside it lie the pictures of photograph number N in the order of their names:
//! `000N-input.jpg`, `000N-output.jpg`, `000N-target.jpg`, `000N-error.jpg`. The JSON is written
//! last, so that a folder that has it is whole.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use deeplpf_core::ModelConfig;
use deeplpf_data::atomic_file;
use deeplpf_eval::{
    FilterDrawing, Scores, jpeg_of_map, jpeg_thumbnail,
    maps::{ERROR_SCALE, error_map},
};
use deeplpf_filters::{FilterStack, StackParams};
use ndarray::{Array3, ArrayView3};
use serde::{Deserialize, Serialize};

use crate::{ExperimentError, Result};

/// Version of the form of the record: 2 since error maps are coloured by the square root.
const FORMAT: u32 = 2;
/// Longest side of a recorded picture: what a report shows at most.
const LONG_EDGE: u32 = 800;

/// What was evaluated on what, and what came of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RunRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// Version of the program.
    pub version: String,
    /// Name of the method in tables.
    pub label: String,
    /// The pairs, e.g. `paired folder fivek`.
    pub protocol: String,
    /// Which of them, e.g. `ids of test.txt`.
    pub split: String,
    /// File name of the weights.
    pub weights: String,
    /// The model.
    pub config: ModelConfig,
    /// Its filters in words.
    pub filters: String,
    /// Its number of parameters.
    pub parameters: usize,
    /// Mean seconds to enhance a photograph on the machine of the evaluation.
    pub seconds_per_photograph: f64,
    /// Scores of the unchanged inputs.
    pub input_scores: Scores,
    /// Scores of the outputs.
    pub scores: Scores,
    /// What was predicted for each photograph.
    pub photographs: BTreeMap<String, RecordedPhotograph>,
}

/// One photograph of a record.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RecordedPhotograph {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// The predicted filters.
    pub filters: StackParams<f32>,
}

/// The pictures of a photograph, encoded.
pub(crate) struct RecordedPictures([(Picture, Vec<u8>); 4]);

/// Which picture of a photograph.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Picture {
    Input,
    Output,
    Target,
    Error,
}

impl Picture {
    const ALL: [Picture; 4] = [Picture::Input, Picture::Output, Picture::Target, Picture::Error];

    fn name(self) -> &'static str {
        match self {
            Picture::Input => "input",
            Picture::Output => "output",
            Picture::Target => "target",
            Picture::Error => "error",
        }
    }

    /// The file of this picture of photograph `number`, from 1.
    fn file(self, number: usize) -> String {
        format!("{number:04}-{}.jpg", self.name())
    }
}

impl RecordedPictures {
    /// Encodes the pictures; all are `3 x H x W` of one size.
    pub fn new(
        input: ArrayView3<'_, f32>,
        output: ArrayView3<'_, f32>,
        target: ArrayView3<'_, f32>,
    ) -> Result<Self> {
        let error = ERROR_SCALE.paint(error_map(output, target)?.view());
        Ok(Self([
            (Picture::Input, jpeg_thumbnail(input, LONG_EDGE)?),
            (Picture::Output, jpeg_thumbnail(output, LONG_EDGE)?),
            (Picture::Target, jpeg_thumbnail(target, LONG_EDGE)?),
            (Picture::Error, jpeg_of_map(&error, LONG_EDGE)?),
        ]))
    }
}

/// The folder of the record of a run or an evaluation.
pub(crate) fn record_folder(run: &Path) -> PathBuf {
    run.join("record")
}

fn record_file(run: &Path) -> PathBuf {
    record_folder(run).join("record.json")
}

/// Whether `run` holds a whole record.
pub(crate) fn has_record(run: &Path) -> bool {
    record_file(run).is_file()
}

impl RunRecord {
    /// Fills in what every record has.
    #[allow(clippy::too_many_arguments)]
    pub fn new(
        label: String,
        (protocol, split): (String, String),
        weights: String,
        config: ModelConfig,
        (filters, parameters): (String, usize),
        seconds_per_photograph: f64,
        (input_scores, scores): (Scores, Scores),
        photographs: BTreeMap<String, RecordedPhotograph>,
    ) -> Self {
        Self {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").into(),
            label,
            protocol,
            split,
            weights,
            config,
            filters,
            parameters,
            seconds_per_photograph,
            input_scores,
            scores,
            photographs,
        }
    }

    /// Writes record and pictures into the folder of a run or an evaluation, in place of an older
    /// record.
    pub fn write(&self, run: &Path, pictures: &BTreeMap<String, RecordedPictures>) -> Result<()> {
        let folder = record_folder(run);
        fs::create_dir_all(&folder).map_err(ExperimentError::io("create", &folder))?;
        // Without it the folder is no record until all is written.
        let file = record_file(run);
        if file.exists() {
            fs::remove_file(&file).map_err(ExperimentError::io("replace", &file))?;
        }
        for (index, RecordedPictures(pictures)) in pictures.values().enumerate() {
            for (picture, bytes) in pictures {
                let path = folder.join(picture.file(index + 1));
                atomic_file::write(&path, bytes).map_err(ExperimentError::io("write", &path))?;
            }
        }
        // Pictures of an older, longer record, by the names only a record gives.
        let mut number = pictures.len() + 1;
        while Picture::ALL.iter().any(|picture| folder.join(picture.file(number)).exists()) {
            for path in Picture::ALL.map(|picture| folder.join(picture.file(number))) {
                if path.exists() {
                    fs::remove_file(&path).map_err(ExperimentError::io("remove", &path))?;
                }
            }
            number += 1;
        }
        let text = serde_json::to_vec(self).map_err(|error| ExperimentError::Record {
            path: file.clone(),
            reason: error.to_string(),
        })?;
        atomic_file::write(&file, &text).map_err(ExperimentError::io("write", &file))
    }

    /// Reads and checks the record of `run`.
    ///
    /// # Errors
    /// [`ExperimentError::Record`] for a file that is no record, is of another version, or
    /// contradicts itself.
    pub fn read(run: &Path) -> Result<Self> {
        let path = record_file(run);
        let text = fs::read_to_string(&path).map_err(ExperimentError::io("read", &path))?;
        let refuse = |reason: String| ExperimentError::Record { path: path.clone(), reason };
        #[derive(Deserialize)]
        struct Version {
            format: u32,
        }
        let Version { format } =
            serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        if format != FORMAT {
            return Err(refuse(format!(
                "it has form {format}, this program reads {FORMAT}; evaluate again"
            )));
        }
        let record: Self =
            serde_json::from_str(&text).map_err(|error| refuse(error.to_string()))?;
        let ids =
            |scores: &Scores| scores.images().map(|(id, _)| id.to_owned()).collect::<Vec<_>>();
        let names: Vec<String> = record.photographs.keys().cloned().collect();
        if ids(&record.scores) != names || ids(&record.input_scores) != names {
            return Err(refuse("its scores are not those of its photographs".into()));
        }
        for (id, photograph) in &record.photographs {
            FilterStack::from_params(&record.config.stack(), photograph.filters.clone())
                .map_err(|error| refuse(format!("photograph `{id}`: {error}")))?;
        }
        Ok(record)
    }

    /// The file of a picture of the photograph called `id`.
    ///
    /// # Errors
    /// [`ExperimentError::Record`] if there is no such photograph or file.
    pub fn picture(&self, run: &Path, id: &str, picture: Picture) -> Result<PathBuf> {
        let refuse = |reason: String| ExperimentError::Record { path: record_file(run), reason };
        let number = self
            .photographs
            .keys()
            .position(|known| known == id)
            .ok_or_else(|| refuse(format!("it has no photograph `{id}`")))?;
        let file = picture.file(number + 1);
        let path = record_folder(run).join(&file);
        if path.is_file() {
            Ok(path)
        } else {
            Err(refuse(format!("its picture {file} is missing; evaluate again")))
        }
    }

    /// The pixels of a picture, `3 x H x W`.
    pub fn pixels(&self, run: &Path, id: &str, picture: Picture) -> Result<Array3<f32>> {
        Ok(deeplpf_data::decode(self.picture(run, id, picture)?)?.pixels)
    }

    /// The filters of the photograph called `id`, ready to be drawn; `None` for a model without
    /// any.
    pub fn drawing(&self, id: &str) -> Option<FilterDrawing> {
        let RecordedPhotograph { width, height, filters } = self.photographs.get(id)?;
        let stack = self.config.stack();
        stack.has_filters().then(|| FilterDrawing::new(&stack, filters, (*width, *height)))
    }
}

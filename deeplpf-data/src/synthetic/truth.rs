//! How a synthetic set was made.

use std::path::Path;

use deeplpf_filters::StackParams;
use serde::{Deserialize, Serialize};

use super::{Flattening, Look};
use crate::DataError;

/// Name of the file in the folder of a synthetic set.
pub const TRUTH_FILE: &str = "truth.json";

/// How a synthetic set was made: everything needed to make every target again from its input.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Truth {
    /// How to read this, in words.
    pub method: String,
    /// From photograph to input.
    pub flattening: Flattening,
    /// From input to target, for every picture that has no parameters of its own.
    pub look: Look,
    /// The pairs, in order.
    pub pictures: Vec<Picture>,
}

/// Where one pair comes from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Picture {
    /// The pair's id.
    pub id: String,
    /// What the pair is for.
    pub part: Part,
    /// File name of the photograph.
    pub photograph: String,
    /// Left, top, width and height of the part of the photograph that was used, in its pixels.
    pub crop: [u32; 4],
    /// Width and height it was scaled to.
    pub size: [u32; 2],
    /// Parameters of this picture's own look, in place of those of [`Truth::look`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub params: Option<StackParams<f64>>,
}

/// What a pair is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Training.
    Train,
    /// Choosing the best checkpoint.
    Valid,
    /// Reporting.
    Test,
}

impl Part {
    /// All parts with the names of their lists.
    pub const ALL: [(Self, &'static str); 3] =
        [(Self::Train, "train.txt"), (Self::Valid, "valid.txt"), (Self::Test, "test.txt")];
}

impl Truth {
    /// Reads the truth of a set in `folder`; `None` if there is no such file, so that the filters
    /// behind the pairs are unknown.
    ///
    /// # Errors
    /// [`DataError::Read`], and [`DataError::Truth`] for a file that is no truth.
    pub fn read_folder(folder: impl AsRef<Path>) -> Result<Option<Self>, DataError> {
        let path = folder.as_ref().join(TRUTH_FILE);
        let text = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            text => text.map_err(|e| DataError::read(&path, e))?,
        };
        let refuse = |reason: String| DataError::Truth { path: path.clone(), reason };
        let truth: Self = serde_json::from_slice(&text).map_err(|e| refuse(e.to_string()))?;
        for picture in &truth.pictures {
            truth
                .look_of_picture(picture)
                .stack()
                .map_err(|e| refuse(format!("picture '{}': {e}", picture.id)))?;
        }
        Ok(Some(truth))
    }

    /// Ids of one part, in order.
    #[must_use]
    pub fn ids(&self, part: Part) -> Vec<String> {
        let of_part = self.pictures.iter().filter(|picture| picture.part == part);
        of_part.map(|picture| picture.id.clone()).collect()
    }

    /// The look that made the target of the pair called `id`.
    #[must_use]
    pub fn look_of(&self, id: &str) -> Option<Look> {
        let picture = self.pictures.iter().find(|picture| picture.id == id)?;
        Some(self.look_of_picture(picture))
    }

    fn look_of_picture(&self, picture: &Picture) -> Look {
        let params = picture.params.as_ref().unwrap_or(&self.look.params).clone();
        Look { config: self.look.config.clone(), params }
    }
}

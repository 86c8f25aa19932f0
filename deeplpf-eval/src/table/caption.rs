//! What stands under a table.

use serde::{Deserialize, Serialize};

use super::{Standing, Table};
use crate::error::Size;
use crate::statistics::{CONFIDENCE, LEVEL, RESAMPLES};

/// What was measured: printed under every table.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caption {
    /// The protocol, e.g. `DPE`. Published results under a protocol of the same name are
    /// comparable.
    pub protocol: String,
    /// The protocol's name in the list of published results, where `protocol` says more than that
    /// name, e.g. `DPE` under `FiveK dpe: 2250/2250/498 ids, ...`. Empty: `protocol` is the name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub published_under: String,
    /// Which part of the data, e.g. `test`.
    pub split: String,
    /// Number of images behind each mean.
    pub images: usize,
    /// The images' sizes, e.g. `512x341 pixels`; see [`resolution`].
    pub resolution: String,
    /// Further sentences, e.g. seeds or deviations.
    pub notes: Vec<String>,
}

/// The sizes of a set in a few words: one size, or the range of areas and the common long or short
/// edge if there is one.
pub fn resolution(sizes: &[Size]) -> String {
    let mut distinct = sizes.to_vec();
    distinct.sort_by_key(|size| (size.width * size.height, size.width));
    distinct.dedup();
    let [first, .., last] = distinct.as_slice() else {
        return distinct.first().map_or(String::new(), |size| format!("{size} pixels"));
    };
    let long = common(&distinct, |size| size.width.max(size.height));
    let short = common(&distinct, |size| size.width.min(size.height));
    let edge = match (long, short) {
        (Some(long), _) => format!(", long edge {long}"),
        (None, Some(short)) => format!(", short edge {short}"),
        (None, None) => String::new(),
    };
    format!("{} sizes from {first} to {last} pixels{edge}", distinct.len())
}

/// A number all sizes have in common.
fn common(sizes: &[Size], of: impl Fn(&Size) -> usize) -> Option<usize> {
    let first = of(sizes.first()?);
    sizes.iter().all(|size| of(size) == first).then_some(first)
}

impl Caption {
    /// The protocol whose published results are comparable.
    pub fn published_protocol(&self) -> &str {
        if self.published_under.is_empty() { &self.protocol } else { &self.published_under }
    }

    /// Protocol, split, number of images and resolution in one line.
    pub(crate) fn facts(&self) -> String {
        let Caption { protocol, split, images, resolution, .. } = self;
        let mut facts = Vec::new();
        if !protocol.is_empty() {
            facts.push(format!("Protocol: {protocol}."));
        }
        if !split.is_empty() {
            facts.push(format!("Split: {split}."));
        }
        facts.push(format!("{images} {}.", if *images == 1 { "image" } else { "images" }));
        if !resolution.is_empty() {
            facts.push(format!("Resolution: {resolution}."));
        }
        facts.join(" ")
    }
}

impl Table {
    /// The sentences under the table: protocol, split, number of images, resolution, definitions,
    /// what intervals and tests mean, notes.
    pub(crate) fn caption_lines(&self) -> Vec<String> {
        let definitions: Vec<_> = self
            .columns
            .iter()
            .filter(|column| column.label != column.name)
            .map(|column| format!("{}: {}", column.label, column.name))
            .collect();
        let mut lines = vec![self.caption.facts()];
        if !definitions.is_empty() {
            lines.push(format!("{}.", definitions.join("; ")));
        }
        lines.extend(self.spread_line());
        lines.extend(self.pooled_lines());
        lines.extend(self.tests_line());
        if self.published.iter().any(|result| result.ssim.is_some())
            && self.columns.iter().any(|column| column.key == "ssim")
        {
            lines.push("The definition of published SSIM is its source's.".into());
        }
        if self.rows.iter().filter(|row| row.seconds_per_image.is_some()).count() > 1 {
            lines.push(
                "Time: as each evaluation measured it; they were not run side by side.".into(),
            );
        }
        lines.extend(self.caption.notes.iter().cloned());
        lines
    }

    /// What follows the values.
    fn spread_line(&self) -> Option<String> {
        let mut sentences = Vec::new();
        let repeated: Vec<&super::Row> =
            self.rows.iter().filter(|row| row.deviations.iter().any(Option::is_some)).collect();
        if let Some(first) = repeated.first() {
            let seeds = if repeated.iter().all(|row| row.seeds == first.seeds) {
                format!("{} seeds", first.seeds)
            } else {
                let each: Vec<String> =
                    repeated.iter().map(|row| format!("{} {}", row.method, row.seeds)).collect();
                format!("seeds ({})", each.join(", "))
            };
            sentences.push(format!("±: standard deviation over {seeds}."));
        }
        if self.rows.iter().any(|row| row.intervals.iter().any(Option::is_some)) {
            let percent = 100.0 * CONFIDENCE;
            let of_seeds = match repeated.is_empty() {
                true => "",
                false => ", of an image's mean over seeds where there are several",
            };
            sentences.push(format!(
                "In brackets: {percent}% bootstrap interval of the mean over images ({RESAMPLES} \
                 resamples{of_seeds})."
            ));
        }
        (!sentences.is_empty()).then(|| sentences.join(" "))
    }

    /// The other way to average a PSNR.
    fn pooled_lines(&self) -> Vec<String> {
        let line = |(index, column): (usize, &crate::metrics::Metric)| {
            let value = |row: &super::Row| {
                Some(format!("{} {}", row.method, column.format(row.pooled[index]?)))
            };
            let values: Vec<String> = self.rows.iter().filter_map(value).collect();
            let (label, values) = (&column.label, values.join(", "));
            (!values.is_empty())
                .then(|| format!("{label} of the pooled squared error (dB): {values}."))
        };
        self.columns.iter().enumerate().filter_map(line).collect()
    }

    /// Which differences are ones.
    fn tests_line(&self) -> Option<String> {
        if self.rows.len() < 2 {
            return None;
        }
        let standings: Vec<Standing> = (0..self.rows.len())
            .flat_map(|row| (0..self.columns.len()).map(move |column| (row, column)))
            .filter(|&(row, column)| self.rows[row].values[column].is_some())
            .map(|(row, column)| self.standing(row, column))
            .collect();
        let has = |standing| standings.contains(&standing);
        let mut sentences = Vec::new();
        if has(Standing::Near) {
            sentences.push(format!(
                "≈: not shown to differ from the best of its column (paired bootstrap and \
                 Wilcoxon's signed-rank test over images, both with Holm's correction, level \
                 {LEVEL})."
            ));
            // The smallest p value of n differences is 2 / 2^n.
            if self.caption.images < 6 {
                sentences.push(
                    "On fewer than 6 images Wilcoxon's test shows no difference, whatever it is."
                        .into(),
                );
            }
            if has(Standing::Different) {
                sentences.push("Values without ≈ differ from the best.".into());
            }
        } else if has(Standing::Different) {
            sentences.push(format!(
                "Every {}value differs from the best of its column (paired bootstrap and \
                 Wilcoxon's signed-rank test over images, both with Holm's correction, level \
                 {LEVEL}).",
                if has(Standing::Untested) { "tested " } else { "" }
            ));
        }
        if has(Standing::Untested) {
            sentences.push(if has(Standing::Near) || has(Standing::Different) {
                "°: not tested, for lack of values per image; a difference may be chance.".into()
            } else {
                "No differences were tested, for lack of values per image: they may be chance."
                    .into()
            });
        }
        (!sentences.is_empty()).then(|| sentences.join(" "))
    }

    /// The sign behind a value that says how it stands to the best.
    pub(crate) fn standing_sign(&self, row: usize, column: usize) -> &'static str {
        match self.standing(row, column) {
            Standing::Near => " ≈",
            Standing::Untested if self.any_tested() => " °",
            _ => "",
        }
    }

    /// Whether any difference of the table was tested.
    fn any_tested(&self) -> bool {
        (0..self.rows.len()).any(|row| {
            (0..self.columns.len()).any(|column| {
                matches!(self.standing(row, column), Standing::Near | Standing::Different)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_summed_up() {
        let size = |width, height| Size { width, height };
        assert_eq!(resolution(&[]), "");
        assert_eq!(resolution(&[size(512, 341); 3]), "512x341 pixels");
        let long = [size(512, 341), size(340, 512), size(512, 341), size(512, 512)];
        assert_eq!(resolution(&long), "3 sizes from 340x512 to 512x512 pixels, long edge 512");
        let short = [size(720, 480), size(480, 640)];
        assert_eq!(resolution(&short), "2 sizes from 480x640 to 720x480 pixels, short edge 480");
        assert_eq!(resolution(&[size(3, 4), size(5, 6)]), "2 sizes from 3x4 to 5x6 pixels");
    }
}

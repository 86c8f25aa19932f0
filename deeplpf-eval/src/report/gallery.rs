//! Photographs with a before/after slider.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ndarray::Array3;

use super::html::escape_html as escape;
use crate::error::Result;
use crate::image_encoding::{thumbnail, to_jpeg};
use crate::metrics::Metric;
use crate::scores::Scores;

/// Longest side of an embedded picture in pixels: the size of the common protocols and what fits
/// beside the text on a screen.
const LONG_EDGE: u32 = 800;

/// One photograph of a report.
#[derive(Clone, Debug)]
pub struct GalleryItem {
    /// Name of the photograph.
    pub id: String,
    /// Labelled pictures, planar RGB, `3 x H x W` in \[0, 1\]: usually `input`, the outputs of one
    /// or several methods, `target`. The slider begins with the first two; others can be chosen.
    pub images: Vec<(String, Array3<f32>)>,
    /// Metrics of the photograph with their values.
    pub scores: Vec<(Metric, f64)>,
}

impl GalleryItem {
    /// A photograph without scores.
    pub fn new(id: impl Into<String>, images: Vec<(String, Array3<f32>)>) -> Self {
        Self { id: id.into(), images, scores: Vec::new() }
    }

    /// The same with its values from `scores`; without any if they do not have this photograph.
    #[must_use]
    pub fn with_scores(mut self, scores: &Scores) -> Self {
        if let Some((_, values)) = scores.images().find(|(id, _)| *id == self.id) {
            self.scores = scores.metrics().iter().cloned().zip(values.iter().copied()).collect();
        }
        self
    }

    fn to_html(&self) -> Result<String> {
        let id = escape(&self.id);
        let mut html = format!("<article class=\"photograph\">\n<h3>{id}</h3>\n");
        if !self.scores.is_empty() {
            html.push_str("<dl class=\"scores\">\n");
            for (metric, value) in &self.scores {
                let (label, name) = (escape(&metric.label), escape(&metric.name));
                let value = metric.format(*value);
                let unit = escape(&metric.unit);
                html.push_str(&format!(
                    "<div title=\"{name}\"><dt>{label}</dt><dd>{value} {unit}</dd></div>\n"
                ));
            }
            html.push_str("</dl>\n");
        }
        html.push_str("<div class=\"pictures\">\n");
        for (label, pixels) in &self.images {
            let picture = thumbnail(pixels.view(), LONG_EDGE)?;
            let data = STANDARD.encode(to_jpeg(&picture)?);
            let (width, height) = picture.dimensions();
            let label = escape(label);
            html.push_str(&format!(
                "<figure data-label=\"{label}\"><img src=\"data:image/jpeg;base64,{data}\" \
                 alt=\"{id}, {label}\" width=\"{width}\" height=\"{height}\" loading=\"lazy\" \
                 decoding=\"async\"><figcaption>{label}</figcaption></figure>\n"
            ));
        }
        html.push_str("</div>\n</article>\n");
        Ok(html)
    }
}

pub(super) fn section(items: &[GalleryItem]) -> Result<String> {
    let articles = items.iter().map(GalleryItem::to_html).collect::<Result<String>>()?;
    Ok(super::html::section("Photographs", &articles))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::metrics_by_key;
    use crate::scores::evaluate;

    #[test]
    fn pictures_are_embedded_and_scores_shown() {
        let target = Array3::from_elem((3, 20, 30), 0.5f32);
        let input = Array3::from_elem((3, 20, 30), 0.6f32);
        let metrics = metrics_by_key(&["psnr", "ssim"]).unwrap();
        let scores = evaluate(&metrics, [("<a>", input.view(), target.view())]).unwrap();
        let images = vec![("in\"put".to_owned(), input), ("target".to_owned(), target)];
        let item = GalleryItem::new("<a>", images).with_scores(&scores);
        let html = section(&[item]).unwrap();
        assert_eq!(html.matches("src=\"data:image/jpeg;base64,/9j/").count(), 2);
        assert!(html.contains("<h3>&lt;a&gt;</h3>") && html.contains("in&quot;put"), "{html}");
        assert!(html.contains("<dt>PSNR</dt><dd>20.00 dB</dd>"), "{html}");
        assert!(section(&[]).unwrap().is_empty());
    }
}

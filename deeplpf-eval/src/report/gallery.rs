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

/// One photograph of a report in several renderings.
#[derive(Clone, Debug)]
pub struct GalleryItem {
    /// Name of the photograph, as in [`Scores`].
    pub id: String,
    /// Its renderings: usually `input`, the outputs of one or several methods, `target`. The
    /// slider begins with the first against the last but one; others can be chosen.
    pub pictures: Vec<GalleryPicture>,
}

/// One rendering of a photograph.
#[derive(Clone, Debug)]
pub struct GalleryPicture {
    /// What it is, e.g. `input`.
    pub label: String,
    /// Planar RGB, `3 x H x W` in \[0, 1\].
    pub pixels: Array3<f32>,
    /// Its metrics against the target, if it has any.
    pub scores: Vec<(Metric, f64)>,
}

impl GalleryItem {
    /// A photograph without renderings.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), pictures: Vec::new() }
    }

    /// The same with one more rendering, `3 x H x W` in \[0, 1\].
    #[must_use]
    pub fn with_picture(mut self, label: impl Into<String>, pixels: Array3<f32>) -> Self {
        self.pictures.push(GalleryPicture { label: label.into(), pixels, scores: Vec::new() });
        self
    }

    /// The same with one more rendering and this photograph's values in `scores`; without values
    /// if `scores` do not have this photograph.
    #[must_use]
    pub fn with_scored_picture(
        mut self,
        label: impl Into<String>,
        pixels: Array3<f32>,
        scores: &Scores,
    ) -> Self {
        let scores = match scores.images().find(|(id, _)| *id == self.id) {
            Some((_, values)) => {
                scores.metrics().iter().cloned().zip(values.iter().copied()).collect()
            }
            None => Vec::new(),
        };
        self.pictures.push(GalleryPicture { label: label.into(), pixels, scores });
        self
    }

    fn to_html(&self) -> Result<String> {
        let id = escape(&self.id);
        let mut html = format!("<article class=\"photograph\">\n<h3>{id}</h3>\n");
        html.push_str("<div class=\"pictures\">\n");
        for GalleryPicture { label, pixels, .. } in &self.pictures {
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
        html.push_str("</div>\n");
        html.push_str(&self.score_table());
        html.push_str("</article>\n");
        Ok(html)
    }

    /// The values of every rendering that has some.
    fn score_table(&self) -> String {
        let mut metrics: Vec<&Metric> = Vec::new();
        for (metric, _) in self.pictures.iter().flat_map(|picture| &picture.scores) {
            if !metrics.iter().any(|known| known.key == metric.key) {
                metrics.push(metric);
            }
        }
        if metrics.is_empty() {
            return String::new();
        }
        let mut html = String::from(
            "<div class=\"scroll scores\"><table>\n<thead><tr><th scope=\"col\">Picture</th>",
        );
        for metric in &metrics {
            let (heading, name) = (escape(&metric.heading()), escape(&metric.name));
            html.push_str(&format!("<th scope=\"col\" title=\"{name}\">{heading}</th>"));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for picture in self.pictures.iter().filter(|picture| !picture.scores.is_empty()) {
            html.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape(&picture.label)));
            for metric in &metrics {
                let found = picture.scores.iter().find(|(other, _)| other.key == metric.key);
                let value = found.map_or("–".to_owned(), |(_, value)| metric.format(*value));
                html.push_str(&format!("<td>{value}</td>"));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>\n");
        html
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
        let metrics = metrics_by_key(&["psnr"]).unwrap();
        let scores = evaluate(&metrics, [("<a>", input.view(), target.view())]).unwrap();
        let item = GalleryItem::new("<a>")
            .with_scored_picture("in\"put", input, &scores)
            .with_picture("target", target);
        let html = section(&[item]).unwrap();
        assert_eq!(html.matches("src=\"data:image/jpeg;base64,/9j/").count(), 2);
        assert!(html.contains("<h3>&lt;a&gt;</h3>"), "{html}");
        assert!(html.contains("<th scope=\"row\">in&quot;put</th><td>20.00</td></tr>"), "{html}");
        assert_eq!(html.matches("<th scope=\"row\">").count(), 1, "the target has no scores");
        assert!(section(&[]).unwrap().is_empty());
    }
}

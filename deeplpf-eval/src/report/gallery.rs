//! Photographs with a before/after slider, their filters and their scores.

use std::path::PathBuf;

use image::RgbImage;
use ndarray::Array3;

use super::html::escape_html as escape;
use super::thumbnails::{Thumbnail, thumbnails};
use crate::error::Result;
use crate::filter_drawing::FilterDrawing;
use crate::maps::{ERROR_SCALE, ERROR_TICKS};
use crate::metrics::{Direction, Metric};
use crate::scores::Scores;

/// One photograph of a report in several renderings.
#[derive(Clone, Debug)]
pub struct GalleryItem {
    /// Name of the photograph, as in [`Scores`].
    pub id: String,
    /// Its renderings: usually `input`, the outputs of one or several methods, `target`, error
    /// maps. The slider begins with the first against the last that has scores; others can be
    /// chosen.
    pub pictures: Vec<GalleryPicture>,
    /// The filters that a method predicted, by the method's label.
    pub filters: Vec<(String, FilterDrawing)>,
}

/// One rendering of a photograph.
#[derive(Clone, Debug)]
pub struct GalleryPicture {
    /// What it is, e.g. `input`.
    pub label: String,
    /// The picture.
    pub source: PictureSource,
    /// Its metrics against the target, if it has any.
    pub scores: Vec<(Metric, f64)>,
}

/// Where a picture comes from. Files are read when the report is made, a few at a time, so that
/// hundreds of photographs need not be in memory.
#[derive(Clone, Debug)]
pub enum PictureSource {
    /// Planar RGB, `3 x H x W` in \[0, 1\].
    Pixels(Array3<f32>),
    /// 8-bit RGB, e.g. a painted map.
    Painted(RgbImage),
    /// A picture file.
    File(PathBuf),
}

impl From<Array3<f32>> for PictureSource {
    fn from(pixels: Array3<f32>) -> Self {
        Self::Pixels(pixels)
    }
}

impl From<RgbImage> for PictureSource {
    fn from(picture: RgbImage) -> Self {
        Self::Painted(picture)
    }
}

impl From<PathBuf> for PictureSource {
    fn from(path: PathBuf) -> Self {
        Self::File(path)
    }
}

impl GalleryItem {
    /// A photograph without renderings.
    pub fn new(id: impl Into<String>) -> Self {
        Self { id: id.into(), pictures: Vec::new(), filters: Vec::new() }
    }

    /// The same with one more rendering.
    #[must_use]
    pub fn with_picture(
        mut self,
        label: impl Into<String>,
        source: impl Into<PictureSource>,
    ) -> Self {
        let (label, source) = (label.into(), source.into());
        self.pictures.push(GalleryPicture { label, source, scores: Vec::new() });
        self
    }

    /// The same with one more rendering and this photograph's values in `scores`; without values
    /// if `scores` do not have this photograph.
    #[must_use]
    pub fn with_scored_picture(
        mut self,
        label: impl Into<String>,
        source: impl Into<PictureSource>,
        scores: &Scores,
    ) -> Self {
        let values = scores
            .metrics()
            .iter()
            .filter_map(|metric| Some((metric.clone(), scores.get(&self.id, &metric.key)?)));
        let values = values.collect();
        let (label, source) = (label.into(), source.into());
        self.pictures.push(GalleryPicture { label, source, scores: values });
        self
    }

    /// The same with the filters that the method called `label` predicted; they are drawn over
    /// whatever the slider shows, and their numbers stand below.
    #[must_use]
    pub fn with_filters(mut self, label: impl Into<String>, filters: FilterDrawing) -> Self {
        self.filters.push((label.into(), filters));
        self
    }

    fn to_html(&self, thumbnails: &[Thumbnail], orders: &[Order]) -> String {
        let id = escape(&self.id);
        let values: Vec<String> =
            orders.iter().map(|order| script_number(order.value(self))).collect();
        let mut html = format!(
            "<article class=\"photograph\" data-name=\"{id}\" data-values=\"{}\">\n\
             <h3>{id}</h3>\n<div class=\"pictures\">\n",
            values.join(" ")
        );
        for (picture, thumbnail) in self.pictures.iter().zip(thumbnails) {
            let label = escape(&picture.label);
            let Thumbnail { data, width, height } = thumbnail;
            let scored = if picture.scores.is_empty() { "" } else { " data-scored" };
            html.push_str(&format!(
                "<figure data-label=\"{label}\"{scored}><img src=\"data:image/jpeg;base64,{data}\" \
                 alt=\"{id}, {label}\" width=\"{width}\" height=\"{height}\" loading=\"lazy\" \
                 decoding=\"async\"><figcaption>{label}</figcaption></figure>\n"
            ));
        }
        html.push_str("</div>\n");
        html.push_str(&self.score_table());
        for (label, filters) in &self.filters {
            let label = escape(label);
            let names = format!(
                "class=\"filters\" data-label=\"{label}\" role=\"img\" \
                 aria-label=\"Filters of {label}, drawn over {id}\" hidden"
            );
            if !filters.is_empty() {
                html.push_str(&filters.to_svg_element(&names));
            }
            let numbers = filters.numbers_html();
            if !numbers.is_empty() {
                html.push_str(&format!(
                    "<details class=\"numbers\"><summary>Filters of {label} in numbers</summary>\n\
                     {numbers}</details>\n"
                ));
            }
        }
        html.push_str("</article>\n");
        html
    }

    /// The values of every rendering that has some.
    fn score_table(&self) -> String {
        let metrics = metrics_of(std::slice::from_ref(self));
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
                let value = picture.value(metric);
                let value = value.map_or("–".to_owned(), |value| metric.format(value));
                html.push_str(&format!("<td>{value}</td>"));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody></table></div>\n");
        html
    }
}

impl GalleryPicture {
    fn value(&self, metric: &Metric) -> Option<f64> {
        self.scores.iter().find(|(other, _)| other.key == metric.key).map(|(_, value)| *value)
    }
}

/// The metrics that any picture has, in the order of their first appearance.
fn metrics_of(items: &[GalleryItem]) -> Vec<&Metric> {
    let mut metrics: Vec<&Metric> = Vec::new();
    let scores = items.iter().flat_map(|item| &item.pictures).flat_map(|picture| &picture.scores);
    for (metric, _) in scores {
        if !metrics.iter().any(|known| known.key == metric.key) {
            metrics.push(metric);
        }
    }
    metrics
}

/// Something that photographs can be sorted by.
struct Order<'a> {
    metric: &'a Metric,
    label: &'a str,
    /// Where set, the value is that of `label` less that of this one.
    less: Option<&'a str>,
}

impl Order<'_> {
    fn value(&self, item: &GalleryItem) -> Option<f64> {
        let of = |label: &str| {
            item.pictures.iter().find(|p| p.label == label).and_then(|p| p.value(self.metric))
        };
        let value = of(self.label)?;
        match self.less {
            // The difference of two infinities is none.
            Some(less) => Some(value - of(less)?).filter(|difference| !difference.is_nan()),
            None => Some(value),
        }
    }

    fn option(&self) -> String {
        let Metric { label: metric, direction, .. } = self.metric;
        let of = escape(self.label);
        let text = match self.less {
            Some(less) => format!("{}: {of} less {}", escape(metric), escape(less)),
            None => format!("{}: {of}", escape(metric)),
        };
        let better = match direction {
            Direction::HigherIsBetter => "higher",
            Direction::LowerIsBetter => "lower",
        };
        format!("<option data-better=\"{better}\">{text}</option>")
    }
}

/// Every metric of every scored picture, the last ones (the methods) before the first (the input),
/// and, with several methods, how much the last is better than the one before.
fn orders(items: &[GalleryItem]) -> Vec<Order<'_>> {
    let mut labels: Vec<&str> = Vec::new();
    for picture in items.iter().flat_map(|item| &item.pictures) {
        if !picture.scores.is_empty() && !labels.contains(&picture.label.as_str()) {
            labels.push(&picture.label);
        }
    }
    labels.reverse();
    let metrics = metrics_of(items);
    let each =
        |label, less: Option<_>| metrics.iter().map(move |&metric| Order { metric, label, less });
    let mut orders: Vec<Order<'_>> = labels.iter().flat_map(|&label| each(label, None)).collect();
    if let [last, before, ..] = labels[..] {
        orders.extend(each(last, Some(before)));
    }
    orders
}

/// A number as the page's script reads it; empty for none.
fn script_number(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value.is_infinite() => {
            if value > 0.0 {
                "Infinity".to_owned()
            } else {
                "-Infinity".to_owned()
            }
        }
        // More digits than any metric prints.
        Some(value) => format!("{value:.6}"),
    }
}

/// Search and order; shown by the script, without which they would do nothing.
fn toolbar(count: usize, orders: &[Order]) -> String {
    let options: String = orders.iter().map(Order::option).collect();
    let count = if count == 1 { "1 photograph".to_owned() } else { format!("{count} photographs") };
    format!(
        "<form class=\"toolbar\" role=\"search\" aria-label=\"Photographs\" hidden>\n\
         <label>Search <input type=\"search\" name=\"search\" placeholder=\"name\" \
         autocomplete=\"off\" spellcheck=\"false\"></label>\n\
         <label>Sort by <select name=\"order\"><option>name</option>{options}</select></label>\n\
         <label>Order <select name=\"end\"><option>best first</option><option>worst first</option>\
         </select></label>\n\
         <output aria-live=\"polite\">{count}</output>\n</form>\n"
    )
}

/// The colours of error maps, where there are any.
fn error_legend() -> String {
    let steps = (0..64).map(|step| {
        let [red, green, blue] = ERROR_SCALE.colors.color((f64::from(step) + 0.5) / 64.0);
        format!(
            "<rect x=\"{}\" width=\"4.5\" height=\"14\" fill=\"#{red:02x}{green:02x}{blue:02x}\"/>",
            4 * step
        )
    });
    // The end's numbers stand inward of it.
    let tick = |error: f64| {
        let x = 256.0 * ERROR_SCALE.position(error);
        let (anchor, sign) = match error {
            0.0 => ("start", ""),
            error if error >= ERROR_SCALE.high => ("end", " %"),
            _ => ("middle", ""),
        };
        let percent = 100.0 * error;
        format!("<text x=\"{x:.1}\" y=\"28\" text-anchor=\"{anchor}\">{percent:.0}{sign}</text>")
    };
    format!(
        "<p class=\"legend\">Error maps: absolute difference from the target, mean of red, green \
         and blue, in percent of the range ({high:.0} % or more is the last colour). \
         <svg width=\"256\" height=\"30\" viewBox=\"0 0 256 30\" role=\"img\" aria-label=\"black \
         is 0, pale yellow {high:.0} %, by the square root\">{}{}</svg></p>\n",
        steps.collect::<String>(),
        ERROR_TICKS.map(tick).concat(),
        high = 100.0 * ERROR_SCALE.high
    )
}

/// The section of photographs in at most `budget` bytes of pictures.
pub(super) fn section(items: &[GalleryItem], budget: usize) -> Result<String> {
    if items.is_empty() {
        return Ok(String::new());
    }
    let orders = orders(items);
    let text: usize = items.iter().map(|item| item.to_html(&[], &orders).len()).sum();
    let thumbnails = thumbnails(items, budget.saturating_sub(text))?;
    let mut html = toolbar(items.len(), &orders);
    let painted = |item: &GalleryItem| {
        item.pictures.iter().any(|picture| picture.label.starts_with(ERROR_LABEL))
    };
    if items.iter().any(painted) {
        html.push_str(&error_legend());
    }
    html.push_str("<div class=\"gallery\">\n");
    for (item, thumbnails) in items.iter().zip(&thumbnails) {
        html.push_str(&item.to_html(thumbnails, &orders));
    }
    html.push_str("</div>\n");
    Ok(super::html::section("Photographs", &html))
}

/// How the label of an error map begins; the gallery then explains its colours.
pub(super) const ERROR_LABEL: &str = "error";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter_drawing;
    use crate::metrics::metrics_by_key;
    use crate::scores::evaluate;

    fn scored(value: f32) -> (Array3<f32>, Array3<f32>, Scores) {
        let target = Array3::from_elem((3, 20, 30), 0.5f32);
        let input = Array3::from_elem((3, 20, 30), value);
        let metrics = metrics_by_key(&["psnr"]).unwrap();
        let scores = evaluate(&metrics, [("<a>", input.view(), target.view())]).unwrap();
        (input, target, scores)
    }

    #[test]
    fn pictures_are_embedded_and_scores_shown() {
        let (input, target, scores) = scored(0.6);
        let item = GalleryItem::new("<a>")
            .with_scored_picture("in\"put", input, &scores)
            .with_picture("target", target);
        let html = section(&[item], 1_000_000).unwrap();
        assert_eq!(html.matches("src=\"data:image/jpeg;base64,/9j/").count(), 2);
        assert!(html.contains("<h3>&lt;a&gt;</h3>"), "{html}");
        assert!(html.contains("<th scope=\"row\">in&quot;put</th><td>20.00</td></tr>"), "{html}");
        assert_eq!(html.matches("<th scope=\"row\">").count(), 1, "the target has no scores");
        assert!(!html.contains("Error maps"), "there are none");
        assert!(section(&[], 0).unwrap().is_empty());
    }

    #[test]
    fn photographs_carry_what_they_are_sorted_by() {
        let (input, target, scores) = scored(0.6);
        let (better, _, perfect) = scored(0.5);
        let (_, _, good) = scored(0.51);
        let item = GalleryItem::new("<a>")
            .with_scored_picture("input", input, &scores)
            .with_scored_picture("a", better.clone(), &good)
            .with_scored_picture("b", better, &perfect)
            .with_picture("target", target);
        let html = section(&[item], 1_000_000).unwrap();
        // b, a, input, b less a.
        assert!(html.contains("data-values=\"Infinity 40.0000"), "{html}");
        assert!(html.contains(" 19.999998 Infinity\""), "{html}");
        let order = "<option data-better=\"higher\">PSNR: b less a</option>";
        assert!(html.contains(order), "{html}");
    }

    #[test]
    fn filters_are_drawn_and_listed() {
        let (config, params) = filter_drawing::tests::example();
        let drawing = FilterDrawing::new(&config, &params, (30, 20));
        let item = GalleryItem::new("a")
            .with_picture("error of x", RgbImage::new(30, 20))
            .with_filters("x & y", drawing);
        let html = section(&[item], 1_000_000).unwrap();
        assert!(
            html.contains("aria-label=\"Filters of x &amp; y, drawn over a\" hidden"),
            "{html}"
        );
        assert!(html.contains("<summary>Filters of x &amp; y in numbers</summary>"), "{html}");
        assert!(html.contains("Error maps"), "{html}");
    }
}

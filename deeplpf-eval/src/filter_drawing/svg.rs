//! The drawing as SVG, to lie over a picture of any size.

use std::fmt::Write;

use super::{FilterDrawing, LINE_WIDTH, Stroke, TEXT_SIZE};
use crate::report::escape_html as escape;

impl FilterDrawing {
    /// A group of shapes per instance. Presentation is by attributes only, which a content security
    /// policy without inline styles allows; the dark borders are a filter of the page's style sheet,
    /// which keeps the drawings of hundreds of photographs small.
    fn shapes(&self) -> String {
        let mut svg = String::new();
        for instance in &self.instances {
            let opacity = if instance.acts { "1" } else { "0.45" };
            let [red, green, blue] = instance.color;
            let color = format!("#{red:02x}{green:02x}{blue:02x}");
            let name = escape(&instance.name);
            let _ = write!(svg, "<g data-filter=\"{name}\" opacity=\"{opacity}\">");
            for stroke in &instance.strokes {
                let (path, dashes) = (path(stroke), dashes(stroke));
                let _ = write!(
                    svg,
                    "<path d=\"{path}\" stroke=\"{color}\" stroke-width=\"{LINE_WIDTH}\"{dashes}/>",
                );
            }
            for label in &instance.labels {
                let (x, y) = label.at;
                let _ = write!(
                    svg,
                    "<text x=\"{x:.0}\" y=\"{y:.0}\" fill=\"{color}\">{}</text>",
                    escape(&label.text)
                );
            }
            svg.push_str("</g>\n");
        }
        svg
    }

    /// The drawing as an `<svg>` element; `attributes` are put into its tag as they are.
    pub(crate) fn to_svg_element(&self, attributes: &str) -> String {
        let (width, height) = self.size;
        format!(
            "<svg {attributes} viewBox=\"0 0 {width:.0} {height:.0}\" \
             preserveAspectRatio=\"xMidYMid meet\" fill=\"none\" stroke-linecap=\"round\" \
             stroke-linejoin=\"round\" font-size=\"{TEXT_SIZE}\" font-weight=\"600\" \
             font-family=\"Inter, Helvetica, Arial, sans-serif\" text-anchor=\"middle\" \
             dominant-baseline=\"central\">\n{}</svg>",
            self.shapes()
        )
    }
}

/// In whole units, a thousandth of the picture, each corner relative to the one before.
fn path(stroke: &Stroke) -> String {
    let mut path = String::new();
    let mut before = (0, 0);
    for (index, &(x, y)) in stroke.points.iter().enumerate() {
        let at = (x.round() as i64, y.round() as i64);
        let (dx, dy) = (at.0 - before.0, at.1 - before.1);
        let command = if index == 0 { 'M' } else { 'l' };
        let space = if dy < 0 { "" } else { " " };
        let _ = write!(path, "{command}{dx}{space}{dy}");
        before = at;
    }
    if stroke.closed {
        path.push('Z');
    }
    path
}

fn dashes(stroke: &Stroke) -> String {
    if stroke.dashes.is_empty() {
        return String::new();
    }
    let lengths: Vec<String> = stroke.dashes.iter().map(f64::to_string).collect();
    format!(" stroke-dasharray=\"{}\"", lengths.join(" "))
}

#[cfg(test)]
mod tests {
    use super::super::tests::example;
    use super::*;

    #[test]
    fn every_instance_is_a_group_of_attributes_only() {
        let (config, params) = example();
        let drawing = FilterDrawing::new(&config, &params, (300, 200));
        let svg = drawing.to_svg_element("role=\"img\"");
        assert_eq!(svg.matches("<g data-filter=").count(), 6);
        assert!(svg.starts_with("<svg role=\"img\" viewBox=\"0 0 1000 667\""), "{svg}");
        let stroke = Stroke {
            points: vec![(1.4, 2.6), (11.0, 0.0), (-4.0, 1.0)],
            closed: true,
            dashes: &[],
        };
        assert_eq!(path(&stroke), "M1 3l10-3l-15 1Z");
        assert!(!svg.contains("style=") && !svg.contains("NaN") && !svg.contains("inf"));
    }
}

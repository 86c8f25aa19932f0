//! The parameters of the filters as tables of numbers.

use deeplpf_filters::{StackConfig, StackParams};

use super::FilterDrawing;
use crate::report::escape_html as escape;

/// The numbers of one kind of filter: a row per instance, or per channel of the polynomial.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Block {
    pub title: &'static str,
    pub columns: Vec<String>,
    pub rows: Vec<(String, Vec<f64>)>,
}

/// The scales' columns come first: they say what the filter does, the others where.
const SCALES: [&str; 3] = ["scale R", "scale G", "scale B"];

pub(super) fn blocks(config: &StackConfig, params: &StackParams<f64>) -> Vec<Block> {
    let mut blocks = Vec::new();
    let gated = params.gates.is_some();
    let columns = |names: [&str; 5]| -> Vec<String> {
        let gate = gated.then_some("gate");
        SCALES.into_iter().chain(names).chain(gate).map(str::to_owned).collect()
    };
    if !params.graduated.is_empty() {
        let rows = params.graduated.iter().enumerate().map(|(k, p)| {
            let gate = params.gates.as_ref().map(|gates| gates.graduated[k]);
            let geometry = [p.inversion, p.slope, p.offset, p.o1, p.o2];
            (format!("G{}", k + 1), p.scale.into_iter().chain(geometry).chain(gate).collect())
        });
        blocks.push(Block {
            title: "Graduated filters",
            columns: columns(["inversion", "slope", "offset", "o1", "o2"]),
            rows: rows.collect(),
        });
    }
    if !params.elliptical.is_empty() {
        let rows = params.elliptical.iter().enumerate().map(|(k, p)| {
            let gate = params.gates.as_ref().map(|gates| gates.elliptical[k]);
            let geometry = [p.center_x, p.center_y, p.semi_axis_a, p.semi_axis_b, p.angle];
            (format!("E{}", k + 1), p.scale.into_iter().chain(geometry).chain(gate).collect())
        });
        blocks.push(Block {
            title: "Elliptical filters",
            columns: columns(["center_x", "center_y", "semi_axis_a", "semi_axis_b", "angle"]),
            rows: rows.collect(),
        });
    }
    if let (Some(polynomial), Some(kind)) = (&params.polynomial, config.polynomial) {
        let letters = (0..kind.terms()).map(|term| char::from(b'A' + term as u8).to_string());
        let rows = ["R", "G", "B"].iter().zip(&polynomial.coefficients);
        blocks.push(Block {
            title: "Polynomial filter",
            columns: letters.collect(),
            rows: rows.map(|(name, row)| ((*name).to_owned(), row.to_vec())).collect(),
        });
    }
    blocks
}

impl FilterDrawing {
    /// The parameters as HTML tables, one per kind of filter; every text is escaped. Numbers have
    /// three decimals: their names and units are those of `deeplpf-filters`.
    pub(crate) fn numbers_html(&self) -> String {
        let mut html = String::new();
        for Block { title, columns, rows } in &self.numbers {
            html.push_str(&format!("<div class=\"scroll\"><table><caption>{title}</caption>"));
            html.push_str("<thead><tr><th scope=\"col\"></th>");
            for column in columns {
                html.push_str(&format!("<th scope=\"col\">{}</th>", escape(column)));
            }
            html.push_str("</tr></thead><tbody>");
            for (name, values) in rows {
                html.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape(name)));
                for value in values {
                    html.push_str(&format!("<td>{}</td>", decimal(*value)));
                }
                html.push_str("</tr>");
            }
            html.push_str("</tbody></table></div>\n");
        }
        html
    }
}

/// Three decimals, with a true minus sign and without a minus before zero.
fn decimal(value: f64) -> String {
    let text = format!("{value:.3}");
    match text.strip_prefix('-') {
        Some("0.000") => "0.000".to_owned(),
        Some(digits) => format!("−{digits}"),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use deeplpf_filters::GateParams;

    #[test]
    fn every_parameter_has_a_column() {
        let (config, mut params) = super::super::tests::example();
        params.gates = Some(GateParams { graduated: vec![0.5; 3], elliptical: vec![1.5; 3] });
        params.graduated[0].slope = -0.25;
        let drawing = FilterDrawing::new(&config, &params, (30, 20));
        let html = drawing.numbers_html();
        for text in ["<th scope=\"col\">gate</th>", "<td>−0.250</td>", "<td>0.500</td>", ">T</th>"]
        {
            assert!(html.contains(text), "{text} in {html}");
        }
        assert_eq!(html.matches("<tr>").count(), 3 + 3 + 3 + 3);
        assert_eq!(decimal(-0.0001), "0.000");
    }
}

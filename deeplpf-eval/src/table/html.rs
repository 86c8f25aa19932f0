//! Tables as an HTML fragment, styled by the report.

use super::{Rank, Row, Table};
use crate::report::escape_html as escape;

impl Table {
    /// A `<figure class="table">` with the table and its caption; every text is escaped.
    pub fn to_html(&self) -> String {
        let mut html = String::from("<figure class=\"table\">\n<div class=\"scroll\"><table>\n");
        html.push_str(&format!("<caption>{}</caption>\n", escape(&self.title)));
        html.push_str("<thead><tr><th scope=\"col\">Method</th>");
        for column in &self.columns {
            let (heading, name) = (escape(&column.heading()), escape(&column.name));
            html.push_str(&format!("<th scope=\"col\" title=\"{name}\">{heading}</th>"));
        }
        for heading in self.extra_headings() {
            html.push_str(&format!("<th scope=\"col\">{heading}</th>"));
        }
        html.push_str("</tr></thead>\n<tbody>\n");
        for (index, row) in self.rows.iter().enumerate() {
            html.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape(&row.method)));
            for column in 0..self.columns.len() {
                html.push_str(&self.cell(index, column));
            }
            html.push_str(&self.extra_html(row));
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody>\n");
        self.push_published_html(&mut html);
        html.push_str("</table></div>\n<figcaption>");
        for line in self.caption_lines() {
            html.push_str(&format!("<p>{}</p>", escape(&line)));
        }
        if let Some(marks) = self.marks_line("<b>bold</b>", "<u>underlined</u>") {
            html.push_str(&format!("<p>{marks}</p>"));
        }
        for (index, source) in self.sources().iter().enumerate() {
            html.push_str(&format!("<p>[{}] {}</p>", index + 1, escape(source)));
        }
        html.push_str("</figcaption>\n</figure>\n");
        html
    }

    fn cell(&self, row: usize, column: usize) -> String {
        let Some((text, spread)) = self.value_and_spread(row, column) else {
            return "<td>–</td>".to_owned();
        };
        // The interval on a line of its own, so that many columns find room.
        let (deviation, interval) =
            spread.find(" [").map_or((&spread[..], ""), |start| spread.split_at(start));
        let mut rest = format!("{deviation}{}", self.standing_sign(row, column));
        if !interval.is_empty() {
            rest.push_str(&format!("<small>{interval}</small>"));
        }
        match self.rank(row, column) {
            Some(Rank::Best) => format!("<td><b>{text}</b>{rest}</td>"),
            Some(Rank::Second) => format!("<td><u>{text}</u>{rest}</td>"),
            None => format!("<td>{text}{rest}</td>"),
        }
    }

    /// The cells after the metrics, with the numbers to sort them by: `62.7K` is less than `1.77M`.
    fn extra_html(&self, row: &Row) -> String {
        let parameters = self.has_parameters().then_some(row.parameters.map(|count| count as f64));
        let time = self.has_times().then_some(row.seconds_per_image);
        let values = parameters.into_iter().chain(time);
        let cell = |(text, value): (String, Option<f64>)| match value {
            Some(value) => format!("<td data-value=\"{value}\">{text}</td>"),
            None => format!("<td>{text}</td>"),
        };
        self.extra_cells(row).into_iter().zip(values).map(cell).collect()
    }

    fn push_published_html(&self, html: &mut String) {
        if self.published.is_empty() {
            return;
        }
        html.push_str("<tbody class=\"published\">\n");
        for result in &self.published {
            let (method, label) = (escape(&result.method), escape(&self.published_label(result)));
            let class = if self.is_comparable(result) { "" } else { " class=\"not-comparable\"" };
            html.push_str(&format!("<tr{class}><th scope=\"row\">{method}, {label}</th>"));
            for column in &self.columns {
                let value = result.printed(&column.key).unwrap_or("–".to_owned());
                html.push_str(&format!("<td>{value}</td>"));
            }
            for text in self.extra_published(result) {
                html.push_str(&format!("<td>{}</td>", escape(&text)));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody>\n");
    }
}

#[cfg(test)]
mod tests {
    use crate::table::tests::example;

    #[test]
    fn intervals_stand_behind_the_sign() {
        let html = crate::table::tests::tested().to_html();
        assert!(html.contains("<small> ["), "{html}");
        assert!(html.contains("<th scope=\"col\">Parameters</th>"), "{html}");
        assert!(html.contains(">1.77M</td>") && html.contains(">52</td></tr>"), "{html}");
        assert!(!html.contains("</small> ≈") && html.contains("≈<small>"), "{html}");
    }

    #[test]
    fn text_is_escaped_and_marks_are_set() {
        let html = example().to_html();
        assert!(html.contains("&lt;cubic&gt; | only"), "{html}");
        assert!(!html.contains("<cubic>"), "{html}");
        assert!(html.contains("<td><b>23.93</b></td><td><u>0.8900</u></td><td>–</td>"), "{html}");
        assert!(!html.contains("<small>"), "{html}");
        assert!(html.contains("DeepUPE, published [1]; not comparable: UPE"), "{html}");
    }
}

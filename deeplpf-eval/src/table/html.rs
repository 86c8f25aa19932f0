//! Tables as an HTML fragment, styled by the report.

use super::{Rank, Table};
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
        html.push_str("</tr></thead>\n<tbody>\n");
        for (index, row) in self.rows.iter().enumerate() {
            html.push_str(&format!("<tr><th scope=\"row\">{}</th>", escape(&row.method)));
            for column in 0..self.columns.len() {
                html.push_str(&self.cell(index, column));
            }
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody>\n");
        self.push_published_html(&mut html);
        html.push_str("</table></div>\n<figcaption>");
        for line in self.caption_lines() {
            html.push_str(&format!("<p>{}</p>", escape(&line)));
        }
        if self.has_marks() {
            html.push_str("<p>Best in <b>bold</b>, second best <u>underlined</u>.</p>");
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
        let rest = format!("{spread}{}", self.standing_sign(row, column));
        match self.rank(row, column) {
            Some(Rank::Best) => format!("<td><b>{text}</b>{rest}</td>"),
            Some(Rank::Second) => format!("<td><u>{text}</u>{rest}</td>"),
            None => format!("<td>{text}{rest}</td>"),
        }
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
            html.push_str("</tr>\n");
        }
        html.push_str("</tbody>\n");
    }
}

#[cfg(test)]
mod tests {
    use crate::table::tests::example;

    #[test]
    fn text_is_escaped_and_marks_are_set() {
        let html = example().to_html();
        assert!(html.contains("&lt;cubic&gt; | only"), "{html}");
        assert!(!html.contains("<cubic>"), "{html}");
        assert!(html.contains("<td><b>23.93</b></td><td><u>0.8900</u></td><td>–</td>"), "{html}");
        assert!(html.contains("DeepUPE, published [1]; not comparable: UPE"), "{html}");
    }
}

//! Tables in LaTeX.

use super::{Rank, Table};

impl Table {
    /// A `table` environment in the style of `booktabs`; it needs the packages `booktabs`,
    /// `xcolor` and `amssymb`. Best in bold, second best underlined; published numbers below a
    /// rule, those that are not comparable grey.
    pub fn to_latex(&self) -> String {
        let extra = self.extra_headings();
        let columns = self.columns.len() + extra.len();
        let mut lines = vec![
            "% needs \\usepackage{booktabs}, \\usepackage{xcolor} and \\usepackage{amssymb}".into(),
            "\\begin{table}".to_owned(),
            "\\centering".to_owned(),
            format!("\\begin{{tabular}}{{l{}}}", "r".repeat(columns)),
            "\\toprule".to_owned(),
        ];
        let headings = self.columns.iter().map(|column| escape(&column.heading()));
        let headings = headings.chain(extra.iter().map(|heading| escape(heading)));
        lines.push(line(std::iter::once("Method".to_owned()).chain(headings)));
        lines.push("\\midrule".into());
        for (index, row) in self.rows.iter().enumerate() {
            let values = (0..self.columns.len()).map(|column| self.latex_cell(index, column));
            let extra = self.extra_cells(row).into_iter().map(|cell| escape(&cell));
            lines.push(line(std::iter::once(escape(&row.method)).chain(values).chain(extra)));
        }
        if !self.published.is_empty() {
            lines.push("\\midrule".into());
        }
        for result in &self.published {
            let method = format!("{} ({})", result.method, self.published_label(result));
            let values = self.columns.iter().map(|c| result.printed(&c.key).unwrap_or("–".into()));
            let grey = !self.is_comparable(result);
            let cells = std::iter::once(method)
                .chain(values)
                .chain(self.extra_published(result))
                .map(|cell| escape(&cell));
            lines.push(line(cells.map(|cell| match grey {
                true => format!("\\textcolor{{gray}}{{{cell}}}"),
                false => cell,
            })));
        }
        lines.extend(["\\bottomrule", "\\end{tabular}"].map(str::to_owned));
        let mut caption = vec![format!("{}.", escape(&self.title))];
        caption.extend(self.caption_lines().iter().map(|line| escape(line)));
        caption.extend(self.marks_line("\\textbf{bold}", "\\underline{underlined}"));
        for (index, source) in self.sources().iter().enumerate() {
            caption.push(format!("[{}] {}.", index + 1, escape(source)));
        }
        lines.push(format!("\\caption{{{}}}", caption.join(" ")));
        lines.push("\\end{table}".into());
        lines.join("\n") + "\n"
    }

    fn latex_cell(&self, row: usize, column: usize) -> String {
        let Some((text, spread)) = self.value_and_spread(row, column) else {
            return "--".to_owned();
        };
        let marked = match self.rank(row, column) {
            Some(Rank::Best) => format!("\\textbf{{{text}}}"),
            Some(Rank::Second) => format!("\\underline{{{text}}}"),
            None => text,
        };
        let small = match spread.as_str() {
            "" => String::new(),
            spread => format!("{{\\scriptsize {}}}", escape(spread)),
        };
        format!("{marked}{small}{}", escape(self.standing_sign(row, column)))
    }
}

pub(super) fn line(cells: impl Iterator<Item = String>) -> String {
    format!("{} \\\\", cells.collect::<Vec<_>>().join(" & "))
}

/// Text in which nothing is a command.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                escaped.push('\\');
                escaped.push(character);
            }
            '\\' => escaped.push_str("\\textbackslash{}"),
            '~' => escaped.push_str("\\textasciitilde{}"),
            '^' => escaped.push_str("\\textasciicircum{}"),
            '<' => escaped.push_str("$<$"),
            '>' => escaped.push_str("$>$"),
            '|' => escaped.push_str("$|$"),
            '↑' => escaped.push_str("$\\uparrow$"),
            '↓' => escaped.push_str("$\\downarrow$"),
            'Δ' => escaped.push_str("$\\Delta$"),
            '±' => escaped.push_str("$\\pm$"),
            '≈' => escaped.push_str("$\\approx$"),
            '°' => escaped.push_str("$^\\circ$"),
            '−' => escaped.push_str("$-$"),
            '–' => escaped.push_str("--"),
            '\n' | '\r' => escaped.push(' '),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::{example, tested};

    #[test]
    fn latex_is_as_expected() {
        let latex = example().to_latex();
        for line in [
            "\\begin{tabular}{lrrrr}",
            "Method & PSNR (dB) $\\uparrow$ & SSIM $\\uparrow$ & $\\Delta$E 76 $\\downarrow$ & \
             Parameters \\\\",
            "$<$cubic$>$ $|$ only & \\textbf{23.93} & \\underline{0.8900} & -- & -- \\\\",
            "DeepLPF (published [1]) & 23.93 & 0.903 & -- & 1.8M \\\\",
            "\\bottomrule",
            "\\end{table}",
        ] {
            assert!(latex.lines().any(|found| found == line), "{line}\n{latex}");
        }
        let grey = "\\textcolor{gray}{DeepUPE (published [1]; not comparable: UPE)} & \
                    \\textcolor{gray}{23.04}";
        assert!(latex.contains(grey), "{latex}");
        assert!(tested().to_latex().contains("{\\scriptsize  [23."), "{}", tested().to_latex());
    }

    #[test]
    fn no_text_is_a_command() {
        assert_eq!(escape("a_b 5% \\x {y}"), "a\\_b 5\\% \\textbackslash{}x \\{y\\}");
    }
}

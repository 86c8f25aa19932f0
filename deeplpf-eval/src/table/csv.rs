//! Tables in CSV, RFC 4180.

use super::Table;

impl Table {
    /// CSV with metric keys as headings and values in full precision, empty where there are none.
    /// The column `source` is empty for measured rows. The caption is not part of it.
    pub fn to_csv(&self) -> String {
        let keys = self.columns.iter().map(|column| column.key.as_ref());
        let mut csv = csv_line(std::iter::once("method").chain(keys).chain(["source"]));
        for row in &self.rows {
            push_row(&mut csv, &row.method, row.values.iter().copied(), "");
        }
        for result in &self.published {
            let values = self.columns.iter().map(|column| result.value(&column.key));
            push_row(&mut csv, &result.method, values, result.source.as_deref().unwrap_or(""));
        }
        csv
    }
}

fn push_row(
    csv: &mut String,
    method: &str,
    values: impl Iterator<Item = Option<f64>>,
    source: &str,
) {
    let values: Vec<String> =
        values.map(|value| value.map_or(String::new(), |value| value.to_string())).collect();
    let cells = std::iter::once(method).chain(values.iter().map(String::as_str)).chain([source]);
    csv.push_str(&csv_line(cells));
}

/// One line with its end. A cell with a comma, a quote or a line break is quoted, its quotes
/// doubled.
pub(crate) fn csv_line<'a>(cells: impl Iterator<Item = &'a str>) -> String {
    let quoted: Vec<String> = cells
        .map(|cell| {
            if cell.contains([',', '"', '\n', '\r']) {
                format!("\"{}\"", cell.replace('"', "\"\""))
            } else {
                cell.to_owned()
            }
        })
        .collect();
    quoted.join(",") + "\r\n"
}

#[cfg(test)]
mod tests {
    use crate::table::tests::example;

    #[test]
    fn csv_is_as_expected() {
        let csv = example().to_csv();
        let lines: Vec<_> = csv.split("\r\n").collect();
        assert_eq!(lines[0], "method,psnr,ssim,delta_e_76,source");
        assert_eq!(lines[2], "\"all, \"\"fixed\"\"\",23.931,0.903,8,");
        assert_eq!(lines[3], "<cubic> | only,23.934,0.89,,");
        assert_eq!(lines[4], "DeepLPF,24.48,0.887,,authors' CVPR 2020 poster");
        assert_eq!(lines.len(), 8);
        assert_eq!(lines[7], "");
    }
}

//! Tables in CSV, RFC 4180.

use super::Table;

impl Table {
    /// CSV in full precision, empty where there is nothing. For each metric its key (the mean),
    /// `<key>_low` and `<key>_high` (95% bootstrap interval over images), `<key>_deviation` (over
    /// seeds) and `<key>_standing` (`best`, `near`, `different` or `untested`, see [`Standing`](super::Standing));
    /// then `parameters`, `seconds_per_image` and `seeds`; for published rows `protocol`,
    /// `comparable` and `source`. The caption is not part of it.
    pub fn to_csv(&self) -> String {
        let parts = ["", "_low", "_high", "_deviation", "_standing"];
        let metrics = self
            .columns
            .iter()
            .flat_map(|column| parts.map(|part| format!("{}{part}", column.key)));
        let rest = ["parameters", "seconds_per_image", "seeds", "protocol", "comparable", "source"];
        let header = std::iter::once("method".to_owned())
            .chain(metrics)
            .chain(rest.map(str::to_owned))
            .collect();
        let mut csv = line_of(header);
        for (index, row) in self.rows.iter().enumerate() {
            let mut cells = vec![row.method.clone()];
            for column in 0..self.columns.len() {
                let interval = row.intervals[column];
                cells.push(number(row.values[column]));
                cells.push(number(interval.map(|interval| interval.low)));
                cells.push(number(interval.map(|interval| interval.high)));
                cells.push(number(row.deviations[column]));
                let standing = row.values[column].map(|_| self.standing(index, column).key());
                cells.push(standing.unwrap_or_default().to_owned());
            }
            cells.push(row.parameters.map_or(String::new(), |count| count.to_string()));
            cells.push(number(row.seconds_per_image));
            cells.push(row.seeds.to_string());
            cells.extend([self.caption.protocol.clone(), String::new(), String::new()]);
            csv.push_str(&line_of(cells));
        }
        for result in &self.published {
            let mut cells = vec![result.method.clone()];
            for column in &self.columns {
                cells.push(number(result.value(&column.key)));
                cells.extend([const { String::new() }; 4]);
            }
            cells.push(result.weights.clone().unwrap_or_default());
            cells.extend([const { String::new() }; 2]);
            cells.push(result.protocol.clone());
            cells.push(self.is_comparable(result).to_string());
            cells.push(result.source.clone().unwrap_or_default());
            csv.push_str(&line_of(cells));
        }
        csv
    }
}

fn number(value: Option<f64>) -> String {
    value.map_or(String::new(), |value| value.to_string())
}

fn line_of(cells: Vec<String>) -> String {
    csv_line(cells.iter().map(String::as_str))
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
    use crate::table::tests::{example, tested};

    #[test]
    fn csv_is_as_expected() {
        let csv = example().to_csv();
        let lines: Vec<_> = csv.split("\r\n").collect();
        assert!(
            lines[0]
                .starts_with("method,psnr,psnr_low,psnr_high,psnr_deviation,psnr_standing,ssim,")
                && lines[0]
                    .ends_with("parameters,seconds_per_image,seeds,protocol,comparable,source")
        );
        assert_eq!(
            lines[2],
            "\"all, \"\"fixed\"\"\",23.931,,,,untested,0.903,,,,best,8,,,,best,,,1,DPE,,"
        );
        assert_eq!(lines[3], "<cubic> | only,23.934,,,,best,0.89,,,,untested,,,,,,,,1,DPE,,");
        assert_eq!(
            lines[4],
            "DeepLPF,23.93,,,,,0.903,,,,,,,,,,1.8M,,,DPE,true,authors' CVPR 2020 poster"
        );
        assert!(lines[5].ends_with(",UPE,false,authors' CVPR 2020 poster"), "{}", lines[5]);
        let cells = |line: &str| line.matches(',').count();
        // The second row's name has a comma of its own.
        assert!(lines[3..8].iter().all(|line| cells(line) == cells(lines[0])), "{csv}");
        assert_eq!((lines.len(), lines[8]), (9, ""));
    }

    #[test]
    fn intervals_are_in_it() {
        let csv = tested().to_csv();
        let near = csv.lines().find(|line| line.starts_with("near,")).unwrap();
        let cells: Vec<_> = near.split(',').collect();
        let [mean, low, high] = [1, 2, 3].map(|i| cells[i].parse::<f64>().unwrap());
        assert!(low < mean && mean < high, "{near}");
        assert_eq!(cells[5], "near");
    }
}

//! Tables in JSON.

use serde_json::{Map, Value, json};

use super::{Rank, Table};
use crate::error::Result;
use crate::scores::JsonValue;

impl Table {
    /// JSON in full precision, indented:
    /// `{"title", "caption": {...}, "columns": [...], "rows": [{"method", "values": {"<key>":
    /// {"mean", "low", "high", "deviation", "pooled", "rank", "standing"}}, "parameters",
    /// "seconds_per_image", "seeds"}], "published": [...]}`. What is not known is null; an
    /// infinite value is the string `"inf"`.
    ///
    /// # Errors
    /// [`crate::EvalError::Json`], which valid tables do not cause.
    pub fn to_json(&self) -> Result<String> {
        let rows: Vec<Value> =
            (0..self.rows.len()).map(|row| self.json_row(row)).collect::<Result<_>>()?;
        let published: Vec<Value> = self
            .published
            .iter()
            .map(|result| {
                let values: Map<String, Value> = self
                    .columns
                    .iter()
                    .filter_map(|c| Some((c.key.to_string(), result.value(&c.key)?.into())))
                    .collect();
                json!({
                    "method": result.method,
                    "protocol": result.protocol,
                    "comparable": self.is_comparable(result),
                    "values": values,
                    "weights": result.weights,
                    "source": result.source,
                })
            })
            .collect();
        let table = json!({
            "title": self.title,
            "caption": self.caption,
            "columns": self.columns,
            "rows": rows,
            "published": published,
        });
        Ok(serde_json::to_string_pretty(&table)? + "\n")
    }

    fn json_row(&self, index: usize) -> Result<Value> {
        let row = &self.rows[index];
        let mut values = Map::new();
        for (column, metric) in self.columns.iter().enumerate() {
            let Some(mean) = row.values[column] else { continue };
            let rank = self.rank(index, column).map(|rank| match rank {
                Rank::Best => "best",
                Rank::Second => "second",
            });
            let interval = row.intervals[column];
            let value = json!({
                "mean": serde_json::to_value(JsonValue(mean))?,
                "low": interval.map(|interval| interval.low),
                "high": interval.map(|interval| interval.high),
                "deviation": row.deviations[column],
                "pooled": row.pooled[column].map(JsonValue).map(serde_json::to_value).transpose()?,
                "rank": rank,
                "standing": self.standing(index, column).key(),
            });
            values.insert(metric.key.to_string(), value);
        }
        Ok(json!({
            "method": row.method,
            "values": values,
            "parameters": row.parameters,
            "seconds_per_image": row.seconds_per_image,
            "seeds": row.seeds,
        }))
    }
}

#[cfg(test)]
mod tests {
    use crate::table::Caption;
    use crate::table::tests::{example, tested};

    #[test]
    fn json_has_everything_and_its_caption_comes_back() {
        let table = tested();
        let json: serde_json::Value = serde_json::from_str(&table.to_json().unwrap()).unwrap();
        let caption: Caption = serde_json::from_value(json["caption"].clone()).unwrap();
        assert_eq!(caption, table.caption);
        let near = &json["rows"][1]["values"]["psnr"];
        assert_eq!(
            (near["standing"].as_str(), near["rank"].as_str()),
            (Some("near"), Some("second"))
        );
        assert!(near["low"].as_f64() < near["mean"].as_f64());
        assert_eq!(json["rows"][0]["parameters"], 1_769_347);
        let json: serde_json::Value = serde_json::from_str(&example().to_json().unwrap()).unwrap();
        assert_eq!(json["published"][0]["comparable"], true);
        assert_eq!(json["published"][1]["comparable"], false);
        assert!(json["rows"][2]["values"]["delta_e_76"].is_null());
    }
}

//! Published numbers, to print beside measured ones.
//!
//! The list is `data/published.toml` of this crate. Each row has a status: `seen` (read in the
//! source it names) or `recalled` (commonly quoted, source not at hand). Only `seen` rows leave
//! this module.

use serde::Deserialize;

use crate::error::Result;

const LIST: &str = include_str!("../data/published.toml");

/// One published result.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct PublishedResult {
    /// The protocol; results of different protocols are not comparable.
    pub protocol: String,
    /// The method as its authors call it.
    pub method: String,
    /// PSNR in dB.
    pub psnr: Option<f64>,
    /// SSIM; publications rarely say in which definition.
    pub ssim: Option<f64>,
    /// LPIPS; publications rarely say in which version.
    pub lpips: Option<f64>,
    /// Number of weights as printed, e.g. `1.8M`.
    pub weights: Option<String>,
    /// Where the numbers were read.
    pub source: Option<String>,
    status: Status,
}

impl PublishedResult {
    /// The number published for a metric: under `psnr`, and under `ssim` only for the standard
    /// definition (`ssim`), which is the commonest. Not LPIPS, of which no publication here says
    /// version and network.
    pub fn value(&self, key: &str) -> Option<f64> {
        match key {
            "psnr" => self.psnr,
            "ssim" => self.ssim,
            _ => None,
        }
    }

    /// The number as tables print it: two decimals for decibels, three for the others.
    pub(crate) fn printed(&self, key: &str) -> Option<String> {
        let decimals = if key == "psnr" { 2 } else { 3 };
        Some(format!("{:.decimals$}", self.value(key)?))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Status {
    Seen,
    Recalled,
}

#[derive(Deserialize)]
struct List {
    result: Vec<PublishedResult>,
}

/// The results under one protocol that were read in the source they name, e.g. `DPE`, `UPE`,
/// `3D-LUT 480p`, `SID Fuji`. Empty for a protocol without any.
///
/// # Errors
/// [`crate::EvalError::Published`] if the list inside the library were damaged.
pub fn published_results(protocol: &str) -> Result<Vec<PublishedResult>> {
    Ok(parse(LIST)?.into_iter().filter(|result| result.protocol == protocol).collect())
}

/// The results under every protocol, as [`published_results`].
///
/// # Errors
/// As there.
pub fn all_published_results() -> Result<Vec<PublishedResult>> {
    parse(LIST)
}

fn parse(list: &str) -> Result<Vec<PublishedResult>> {
    let mut results = toml::from_str::<List>(list)?.result;
    results.retain(|result| result.status == Status::Seen && result.source.is_some());
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recalled_numbers_and_numbers_without_source_never_come_out() {
        let ablation = published_results("DPE ablation").unwrap();
        assert_eq!(ablation.len(), 1);
        assert_eq!(ablation[0].psnr, Some(23.93));
        assert!(LIST.contains("status = \"recalled\""), "the list has rows this test is about");
        let list = r#"result = [{ protocol = "p", method = "m", psnr = 1.0, status = "seen" }]"#;
        assert!(parse(list).unwrap().is_empty());
    }

    #[test]
    fn no_row_is_recalled_and_every_row_has_its_source() {
        let all = all_published_results().unwrap();
        assert_eq!(all.len(), LIST.matches("status = \"seen\"").count());
        assert!(all.iter().all(|result| result.source.is_some() && result.psnr.is_some()));
    }

    #[test]
    fn an_unknown_status_is_an_error() {
        let list = r#"result = [{ protocol = "p", method = "m", status = "sen", source = "s" }]"#;
        assert!(parse(list).is_err());
    }
}

//! The page around the contents.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use super::Report;
use crate::error::Result;
use crate::table::{PairedTable, Table};

const PAGE: &str = include_str!("template/report.html");
const STYLE: &str = include_str!("template/report.css");
const SCRIPT: &str = include_str!("template/report.js");

pub(super) fn page(report: &Report) -> Result<String> {
    let mut values = vec![
        ("title", escape_html(&report.title)),
        ("style", STYLE.to_owned()),
        ("style_hash", hash(STYLE)),
        ("script", SCRIPT.to_owned()),
        ("script_hash", hash(SCRIPT)),
        ("facts", facts(&report.facts)),
        ("tables", section("Results", &tables(report))),
        ("plots", section("Plots", &plots(report))),
        ("version", env!("CARGO_PKG_VERSION").to_owned()),
    ];
    let rest: usize = PAGE.len() + values.iter().map(|(_, value)| value.len()).sum::<usize>();
    let room = report.size_limit.saturating_sub(rest);
    values.push(("gallery", super::gallery::section(&report.gallery, room)?));
    Ok(filled(PAGE, &values))
}

/// The source expression by which the page's policy allows this one script or style.
fn hash(text: &str) -> String {
    format!("sha256-{}", STANDARD.encode(Sha256::digest(text)))
}

/// Text in which nothing is markup, inside elements and quoted attributes alike.
pub(crate) fn escape_html(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn facts(facts: &[(String, String)]) -> String {
    if facts.is_empty() {
        return String::new();
    }
    let rows = facts.iter().map(|(name, value)| {
        format!("<div><dt>{}</dt><dd>{}</dd></div>\n", escape_html(name), escape_html(value))
    });
    format!("<dl class=\"facts\">\n{}</dl>\n", rows.collect::<String>())
}

fn tables(report: &Report) -> String {
    let differences = report.differences.iter().map(PairedTable::to_html);
    report.tables.iter().map(Table::to_html).chain(differences).collect()
}

fn plots(report: &Report) -> String {
    report.plots.iter().map(|svg| format!("<figure class=\"plot\">\n{svg}</figure>\n")).collect()
}

/// A section, or nothing where there is nothing in it.
pub(super) fn section(title: &str, contents: &str) -> String {
    if contents.is_empty() {
        return String::new();
    }
    format!("<section>\n<h2>{title}</h2>\n{contents}</section>\n")
}

/// The template with each `{{name}}` replaced. Values are not searched again, so that a text that
/// looks like a placeholder stays a text.
fn filled(template: &str, values: &[(&str, String)]) -> String {
    let mut page = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        page.push_str(before);
        let known = after.split_once("}}").and_then(|(name, after)| {
            values.iter().find(|(known, _)| *known == name).map(|(_, value)| (value, after))
        });
        if let Some((value, after)) = known {
            page.push_str(value);
            rest = after;
        } else {
            page.push_str("{{");
            rest = after;
        }
    }
    page.push_str(rest);
    page
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::ink;

    #[test]
    fn every_placeholder_is_filled_once_and_values_stay_values() {
        let report = Report {
            facts: vec![("Note".into(), "{{script}} <script>alert(1)</script>".into())],
            ..Report::new("a & b {{facts}}")
        };
        let html = report.to_html().unwrap();
        assert!(html.contains("<title>a &amp; b {{facts}}</title>"), "{html}");
        assert!(
            html.contains("<dd>{{script}} &lt;script&gt;alert(1)&lt;/script&gt;</dd>"),
            "{html}"
        );
        assert_eq!(html.matches("{{").count(), 3, "title twice, fact once");
        assert_eq!(html.matches("<script>").count(), 1);
        // The policy names the script by its hash, so that no other one would run.
        let policy = format!("script-src '{}'", hash(SCRIPT));
        assert!(html.contains(&policy) && !html.contains("unsafe-inline"), "{html}");
        assert!(!html.contains(" style=\"") && !html.contains(" onclick"));
    }

    #[test]
    fn the_page_asks_nothing_of_the_network() {
        let html = Report::new("x").to_html().unwrap();
        for outside in ["http://", "https://", "src=\"/", "@import", "url("] {
            assert!(!html.contains(outside), "{outside}");
        }
        assert!(html.contains("default-src 'none'"));
    }

    #[test]
    fn the_style_sheet_knows_the_neutral_colours_of_plots() {
        for [red, green, blue] in [ink::INK, ink::MUTED, ink::GRID, [255; 3]] {
            let color = format!("\"#{red:02X}{green:02X}{blue:02X}\"");
            assert!(STYLE.contains(&color), "{color}");
        }
    }
}

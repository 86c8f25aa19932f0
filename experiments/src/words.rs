//! Numbers in sentences.

/// `1 epoch`, `2 epochs`.
pub(crate) fn counted(count: u64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

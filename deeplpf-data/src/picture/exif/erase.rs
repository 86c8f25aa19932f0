//! Taking bytes out of a block without moving any other.

use std::ops::Range;

/// Sets `unwanted` ranges to zero where they do not overlap any that are `kept`, and cuts the block
/// after the last byte that is left. A damaged block may tell anything about what lies where; then
/// more is kept than needed, never less.
pub(super) fn erase(block: &mut Vec<u8>, unwanted: &[Range<usize>], kept: &[Range<usize>]) {
    let overlap = |a: &Range<usize>, b: &Range<usize>| a.start < b.end && b.start < a.end;
    let mut erased: Vec<_> = unwanted
        .iter()
        .filter(|range| !range.is_empty() && !kept.iter().any(|other| overlap(range, other)))
        .cloned()
        .collect();
    for range in &erased {
        if let Some(bytes) = block.get_mut(range.clone()) {
            bytes.fill(0);
        }
    }
    // From the end: what was erased, and zeros between and after, which align values.
    erased.sort_by_key(|range| std::cmp::Reverse(range.end));
    let mut end = block.len();
    for range in erased {
        let after = range.end.min(end)..end;
        let is_kept = kept.iter().any(|other| overlap(&after, other));
        if is_kept || block[after].iter().any(|&byte| byte != 0) {
            break;
        }
        end = end.min(range.start);
    }
    block.truncate(end);
}

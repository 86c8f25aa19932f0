//! Where pictures that are said to follow a protocol of FiveK do not: named by whoever evaluates, a
//! protocol is believed, so that the table says what contradicts it.

use std::collections::BTreeSet;

use deeplpf_data::protocol::{Protocol, ProtocolName, SizeRule};

use crate::{fivek::name_of, record::RunRecord};

/// A sentence without its full stop on what a record under a protocol of FiveK has other than the
/// protocol says; `None` for nothing, or for another protocol.
pub(crate) fn departures(record: &RunRecord) -> Option<String> {
    let name = name_of(&record.protocol)?;
    let protocol = Protocol::new(name);
    let sizes = record.photographs.values().map(|photograph| (photograph.width, photograph.height));
    let other = sizes.filter(|&size| !fits(protocol.size(), size)).count();
    let test = protocol.split().test;
    let listed: BTreeSet<&str> = test.iter().map(String::as_str).collect();
    let evaluated = record.photographs.len();
    let of_list = record.photographs.keys().filter(|id| listed.contains(id.as_str())).count();
    let count = |number: usize, one: &str, more: &str| {
        format!("{number} {}", if number == 1 { one } else { more })
    };
    let mut departs = Vec::new();
    if of_list < listed.len() {
        departs
            .push(format!("{of_list} of the {} ids of its test list were evaluated", listed.len()));
    }
    if evaluated > of_list {
        let others = evaluated - of_list;
        departs.push(count(others, "other was evaluated", "others were evaluated"));
    }
    if other > 0 {
        departs.push(format!("{other} of {evaluated} do not have its {}", protocol.size()));
    }
    let name = name.as_str();
    (!departs.is_empty()).then(|| {
        format!(
            "these are not the pictures of the protocol `{name}`: {}; published results are left out",
            departs.join(", ")
        )
    })
}

/// Whether pictures of all photographs have the size of the protocol that is written so.
pub(crate) fn has_its_sizes(record: &RunRecord, name: ProtocolName) -> bool {
    let rule = Protocol::new(name).size();
    record.photographs.values().all(|photograph| fits(rule, (photograph.width, photograph.height)))
}

fn fits(rule: SizeRule, (width, height): (usize, usize)) -> bool {
    match rule {
        SizeRule::LongEdge(edge) => width.max(height) == edge as usize,
        SizeRule::ShortEdge(edge) => width.min(height) == edge as usize,
    }
}

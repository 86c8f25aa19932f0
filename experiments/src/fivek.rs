//! Protocols of FiveK: what stands in captions, and what was published under the same one.

use std::{collections::BTreeSet, fs, io, path::Path};

use deeplpf_data::{
    DataError, PairPaths,
    prepare::{MANIFEST, Manifest},
    protocol::{Expert, Protocol, ProtocolName},
    raw,
};

use crate::{ExperimentError, Result, departures::has_its_sizes, record::RunRecord};

/// The protocols and what `deeplpf-eval`'s list of published results calls them.
const PUBLISHED: [(ProtocolName, &str); 4] = [
    (ProtocolName::Dpe, "DPE"),
    (ProtocolName::DpeIdOrder, "DPE id-order lists"),
    (ProtocolName::Upe, "UPE"),
    (ProtocolName::Lut480, "3D-LUT 480p"),
];

/// The protocol of FiveK that somebody names, as commands, recipes or the list of published results
/// write it: results stand beside those of other pictures only where it is written out and checked.
fn meant_by(named: &str) -> Option<ProtocolName> {
    let published =
        PUBLISHED.into_iter().find(|(_, published)| published.eq_ignore_ascii_case(named));
    named.to_ascii_lowercase().parse().ok().or(published.map(|(name, _)| name))
}

/// The caption of pairs under the protocol called `named` (`dpe`, `upe`, ...), or, without a name, under
/// the one that `data prepare` noted in `folder`. `None` for a name that is none of FiveK's, and for a
/// folder without a manifest.
///
/// # Errors
/// A folder that was prepared for another protocol, or whose manifest cannot be read.
pub(crate) fn caption(
    named: Option<&str>,
    folder: Option<&Path>,
    pairs: &[PairPaths],
) -> Result<Option<String>> {
    let prepared = match folder {
        Some(folder) => prepared_for(folder)?,
        None => None,
    };
    // A rendering of our own is never called the protocol's, nor compared with what was published.
    let own = match &prepared {
        Some((_, own)) => *own,
        None => pairs.iter().filter(|pair| is_raw(&pair.input)).count(),
    };
    let written = |protocol: Protocol| written(protocol, own, pairs.len());
    let prepared = prepared.map(|(protocol, _)| protocol);
    let Some(named) = named else { return Ok(prepared.map(written)) };
    let Some(name) = meant_by(named) else { return Ok(None) };
    if let (Some(prepared), Some(folder)) = (prepared, folder)
        && prepared.name != name
    {
        return Err(ExperimentError::OtherProtocol {
            data: folder.into(),
            prepared: prepared.name.as_str(),
            asked: name.as_str(),
        });
    }
    let target = || pairs.first()?.target.parent()?.file_name()?.to_str()?.parse().ok();
    let target: Option<Expert> = prepared.map(|protocol| protocol.target).or_else(target);
    Ok(Some(written(Protocol { name, target: target.unwrap_or_default() })))
}

/// The protocol in words, with what was done instead where `own` inputs were rendered here.
fn written(protocol: Protocol, own: usize, pairs: usize) -> String {
    let (text, input) = (protocol.to_string(), protocol.input().to_string());
    if own == 0 {
        return text;
    }
    let of = match own {
        all if all >= pairs => String::new(),
        1 => " for 1 input".into(),
        some => format!(" for {some} inputs"),
    };
    let instead = input.trim_start_matches("input ");
    text.replacen(&input, &format!("input by {}{of}, not {instead}", raw::RENDERING), 1)
}

/// Whether a file is none of the pictures that are read without being rendered.
fn is_raw(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    !["png", "jpg", "jpeg", "tif", "tiff", "webp"]
        .iter()
        .any(|known| extension.eq_ignore_ascii_case(known))
}

/// The protocol in a folder's manifest, and how many of its inputs were rendered here.
fn prepared_for(folder: &Path) -> Result<Option<(Protocol, usize)>> {
    let path = folder.join(MANIFEST);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ExperimentError::io("read", &path)(error)),
    };
    let manifest = Manifest::parse(&bytes, &path).map_err(DataError::from)?;
    let own = |rendering: &Option<String>| rendering.as_deref() == Some(raw::RENDERING);
    let own = manifest.entries.iter().filter(|entry| own(&entry.input.rendering)).count();
    Ok(Some((manifest.header.protocol, own)))
}

/// The name in `deeplpf-eval`'s list of published results for a record under a protocol of FiveK, if
/// all of the test list and nothing else was evaluated, against Expert C; a mean over other pictures
/// is another number.
pub(crate) fn published_under(record: &RunRecord) -> Option<&'static str> {
    let name = name_of(&record.protocol)?;
    has_its_sizes(record, name)
        .then(|| published_name(&record.protocol, record.photographs.keys().map(String::as_str)))?
}

/// The protocol of FiveK that is written out in a caption, also with another rendering.
pub(crate) fn name_of(written: &str) -> Option<ProtocolName> {
    let (first, _) = written.strip_prefix("FiveK ")?.split_once(':')?;
    first.parse().ok()
}

/// The same for pictures with these ids, under a protocol as it is written out.
pub(crate) fn published_name<'a>(
    written: &str,
    ids: impl Iterator<Item = &'a str>,
) -> Option<&'static str> {
    let (name, published) =
        PUBLISHED.into_iter().find(|(name, _)| Protocol::new(*name).to_string() == written)?;
    let test = Protocol::new(name).split().test;
    (test.iter().map(String::as_str).collect::<BTreeSet<_>>() == ids.collect()).then_some(published)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rendering_of_our_own_is_never_called_the_protocols() {
        let protocol = Protocol::new(ProtocolName::Dpe);
        let test = protocol.split().test;
        let published = |own: usize| {
            published_name(&written(protocol, own, 498), test.iter().map(String::as_str))
        };
        assert_eq!(published(0), Some("DPE"));
        assert_eq!(published(498), None);
        assert_eq!(published(1), None);
        let all = written(protocol, 498, 498);
        assert!(all.contains("input by deeplpf-render-1, not as shot, zeroed, Expert C"), "{all}");
        let one = written(protocol, 1, 498);
        assert!(one.contains("input by deeplpf-render-1 for 1 input, not as shot"), "{one}");
        let meant = ["dpe", "DPE", "dpe-id-order", "DPE id-order lists", "Upe", "3d-lut 480p"];
        assert!(meant.iter().all(|named| meant_by(named).is_some()));
        assert_eq!(meant_by("my own"), None);
        assert!(is_raw(Path::new("a/b.dng")) && is_raw(Path::new("b.ARW")));
        assert!(!is_raw(Path::new("b.PNG")) && !is_raw(Path::new("b.tif")));
    }
}

//! Protocols of FiveK: what stands in captions, and what was published under the same one.

use std::{collections::BTreeSet, fs, io, path::Path};

use deeplpf_data::{
    DataError, PairPaths,
    prepare::{MANIFEST, Manifest},
    protocol::{Expert, Protocol, ProtocolName},
};

use crate::{ExperimentError, Result, record::RunRecord};

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
    let Some(named) = named else { return Ok(prepared.map(|protocol| protocol.to_string())) };
    let Ok(name) = named.parse::<ProtocolName>() else { return Ok(None) };
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
    Ok(Some(Protocol { name, target: target.unwrap_or_default() }.to_string()))
}

/// The protocol in a folder's manifest.
fn prepared_for(folder: &Path) -> Result<Option<Protocol>> {
    let path = folder.join(MANIFEST);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(ExperimentError::io("read", &path)(error)),
    };
    Ok(Some(Manifest::parse(&bytes, &path).map_err(DataError::from)?.header.protocol))
}

/// The name in `deeplpf-eval`'s list of published results for a record under a protocol of FiveK, if
/// all of the test list and nothing else was evaluated, against Expert C; a mean over other pictures
/// is another number.
pub(crate) fn published_under(record: &RunRecord) -> Option<&'static str> {
    published_name(&record.protocol, record.photographs.keys().map(String::as_str))
}

/// The same for pictures with these ids, under a protocol as it is written out.
pub(crate) fn published_name<'a>(
    written: &str,
    ids: impl Iterator<Item = &'a str>,
) -> Option<&'static str> {
    let named = [
        (ProtocolName::Dpe, "DPE"),
        (ProtocolName::DpeIdOrder, "DPE id-order lists"),
        (ProtocolName::Upe, "UPE"),
        (ProtocolName::Lut480, "3D-LUT 480p"),
    ];
    let (name, published) =
        named.into_iter().find(|(name, _)| Protocol::new(*name).to_string() == written)?;
    let test = Protocol::new(name).split().test;
    (test.iter().map(String::as_str).collect::<BTreeSet<_>>() == ids.collect()).then_some(published)
}

//! The pairs a model is judged by.

use std::path::{Path, PathBuf};

use deeplpf_data::{
    DataError, Pair, sample,
    sid::{SidProtocol, SidSet},
    split::select,
};
use deeplpf_train::{PairSource, open_pairs};

use crate::{ExperimentError, Result, fivek, recipe::TestSpec, scale::Places};

/// Pairs and the words that name them in a caption.
pub(crate) struct TestPairs {
    pub pairs: PairSource,
    /// E.g. `embedded sample set`.
    pub protocol: String,
    /// E.g. `test`.
    pub split: String,
    /// The folder on this machine; `None` for the sample set.
    pub folder: Option<PathBuf>,
}

/// The test part of the sample set for `sample`; else all pairs of a folder or URL, or those in `list`.
pub(crate) fn test_pairs(
    source: &str,
    target: Option<&str>,
    list: Option<&Path>,
) -> Result<TestPairs> {
    if source == "sample" {
        if target.is_some() || list.is_some() {
            return Err(ExperimentError::SampleHasItsOwnSplit);
        }
        let split = sample::split()?;
        let pairs: Vec<Pair> =
            sample::pairs()?.into_iter().filter(|pair| split.test.contains(&pair.id)).collect();
        return Ok(TestPairs {
            pairs: PairSource::Memory(pairs),
            protocol: "embedded sample set (one known look, synthetic targets)".into(),
            split: "test".into(),
            folder: None,
        });
    }
    let (location, folder) = open_pairs(source, target.unwrap_or_default())?;
    let (paths, split) = match list {
        Some(list) => (select(&folder, list)?, format!("ids of {}", file_name(list))),
        None => (folder.pairs.clone(), "all pairs".into()),
    };
    if paths.is_empty() {
        return Err(ExperimentError::NoPairs { data: source.into() });
    }
    Ok(TestPairs {
        pairs: PairSource::Files(paths),
        protocol: format!("{} {}", location.layout, file_name(Path::new(source))),
        split,
        folder: Some(location.root),
    })
}

/// The pairs a recipe names, with the protocol it gives them.
pub(crate) fn named_test_pairs(spec: &TestSpec, places: &Places) -> Result<TestPairs> {
    let data = places.resolve(&spec.data);
    if let Ok(protocol) = spec.protocol.parse::<SidProtocol>() {
        return sid_pairs(&data, protocol);
    }
    let list = places.resolve(&spec.list);
    let list = (!list.is_empty()).then(|| Path::new(&list));
    let target = (!spec.target.is_empty()).then_some(spec.target.as_str());
    let mut tested = test_pairs(&data, target, list)?;
    if !spec.protocol.is_empty() {
        let paths = match &tested.pairs {
            PairSource::Files(paths) => paths.as_slice(),
            _ => &[],
        };
        let written = fivek::caption(Some(&spec.protocol), tested.folder.as_deref(), paths)?;
        tested.protocol = written.unwrap_or_else(|| spec.protocol.clone());
    }
    Ok(tested)
}

/// The test list of See-in-the-Dark.
pub(crate) fn sid_pairs(root: &str, protocol: SidProtocol) -> Result<TestPairs> {
    let files = SidSet::open_test(root, protocol).map_err(DataError::from)?;
    Ok(TestPairs {
        pairs: PairSource::Sid(files),
        protocol: protocol.to_string(),
        split: format!("{}_test_list.txt", protocol.camera.folder()),
        folder: Some(root.into()),
    })
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

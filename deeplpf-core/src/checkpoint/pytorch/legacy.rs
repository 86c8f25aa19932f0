//! PyTorch before 1.6, and later with `_use_new_zipfile_serialization=False`: pickles one behind the
//! other (a magic number, the protocol, facts about the machine, the state dict, the keys of the
//! storages), then the storages in the order of the keys, each as the count of its elements (8
//! bytes) and their little-endian bytes (torch/serialization.py, `_legacy_save`).

use std::{
    borrow::Cow, collections::BTreeMap, collections::HashMap, ops::Range, path::Path, rc::Rc,
};

use candle_core::Tensor;

use super::{
    gather, malformed,
    pickle::{Storage, Value, interpret_first},
};
use crate::Result;

/// The pickle of 0x1950a86a20f9469cfc6c, an integer of ten bytes, as Python writes it.
const MAGIC_NUMBER: &[u8] = b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
/// The only protocol there was.
const PROTOCOL: i64 = 1001;
/// The name of the fact about the machine that orders the bytes of numbers.
const LITTLE_ENDIAN: &[u8] = b"little_endian";

pub(super) fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC_NUMBER)
}

pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let mut at = MAGIC_NUMBER.len();
    let mut next = || {
        let start = at;
        let finished = interpret_first(path, &bytes[start..])?;
        at += finished.length;
        Ok::<_, crate::CoreError>((finished, start))
    };
    let (protocol, _) = next()?;
    if !matches!(protocol.value, Value::Int(PROTOCOL)) {
        return Err(malformed(path, "it is of an unknown protocol"));
    }
    let (facts, start) = next()?;
    if !is_little_endian(&bytes[start..start + facts.length]) {
        return Err(malformed(path, "its numbers are not little-endian"));
    }
    let (root, _) = next()?;
    let (keys, _) = next()?;
    let described: HashMap<&str, &Storage> =
        root.storages.iter().map(|storage| (&*storage.key, &**storage)).collect();
    let mut places: HashMap<Rc<str>, Range<usize>> = HashMap::new();
    let Value::List(keys) = &keys.value else {
        return Err(malformed(path, "the names of its storages are no list"));
    };
    for key in keys.items.borrow().iter() {
        let Value::Text(key) = key else {
            return Err(malformed(path, "the name of a storage is no text"));
        };
        let Some(storage) = described.get(&**key) else {
            return Err(malformed(path, format!("nothing says what storage {key} holds")));
        };
        let place = place(bytes, at, storage).map_err(|reason| malformed(path, reason))?;
        at = place.end;
        places.insert(key.clone(), place);
    }
    gather(path, &root.value, bytes.len(), |storage| {
        let place = places.get(&storage.key).ok_or("its storage is missing")?;
        Ok(Cow::Borrowed(&bytes[place.clone()]))
    })
}

/// Where the bytes of a storage are that begins, with its count, at `at`.
fn place(bytes: &[u8], at: usize, storage: &Storage) -> std::result::Result<Range<usize>, String> {
    let key = &storage.key;
    let cut_short = || format!("it is cut short in storage {key}");
    let (count, rest) =
        bytes.get(at..).and_then(|rest| rest.split_first_chunk::<8>()).ok_or_else(cut_short)?;
    let count = u64::from_le_bytes(*count);
    if count != storage.count {
        let described = storage.count;
        return Err(format!("storage {key} has {count} numbers, its description {described}"));
    }
    let length = usize::try_from(count).ok().and_then(|count| {
        count.checked_mul(storage.dtype.size_in_bytes()).filter(|&length| length <= rest.len())
    });
    let start = at + 8;
    Ok(start..start + length.ok_or_else(cut_short)?)
}

/// Whether the facts about the machine say so: the name, a memo of one byte, and true.
fn is_little_endian(facts: &[u8]) -> bool {
    let name = facts.windows(LITTLE_ENDIAN.len()).position(|window| window == LITTLE_ENDIAN);
    let after = name.map(|at| &facts[at + LITTLE_ENDIAN.len()..]);
    matches!(after, Some([b'q', _, 0x88, ..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `torch.save({"a": ..., "b": ...}, FILE, _use_new_zipfile_serialization=False)` of
    /// PyTorch 2 leaves for a = [[1, 2], [3, 4]] and b, its second column.
    const FILE: &[u8] = include_bytes!("../../../tests/fixtures/legacy.pth");

    fn values(bytes: &[u8], name: &str) -> (Vec<usize>, Vec<f32>) {
        let tensor = read(Path::new("legacy.pth"), bytes).unwrap().remove(name).unwrap();
        (tensor.dims().to_vec(), tensor.flatten_all().unwrap().to_vec1().unwrap())
    }

    #[test]
    fn tensors_come_back_through_shape_and_strides() {
        assert!(begins(FILE));
        assert_eq!(values(FILE, "a"), (vec![2, 2], vec![1.0, 2.0, 3.0, 4.0]));
        assert_eq!(values(FILE, "b"), (vec![2], vec![2.0, 4.0]));
    }

    /// The form of PyTorch before 0.4 under Python 2, of which torchvision's first weights are:
    /// parameters instead of tensors, bytes instead of text.
    #[test]
    fn parameters_of_the_first_versions_are_read() {
        let program: &[&[u8]] = &[
            MAGIC_NUMBER,
            b"\x80\x02M\xe9\x03.",
            b"\x80\x02}q\x01U\x0dlittle_endianq\x02\x88s.",
            b"\x80\x02ccollections\nOrderedDict\nq\x01]q\x02]q\x03(U\x01aq\x04",
            b"ctorch.nn.parameter\nParameter\nq\x05ctorch._utils\n_rebuild_tensor\nq\x06",
            b"((U\x07storageq\x07ctorch\nFloatStorage\nq\x08U\x0212q\x09U\x03cpuq\x0aK\x02Ntq\x0bQ",
            b"K\x00K\x02\x85K\x01\x85tRq\x0c\x85Rq\x0d",
            b"(\x88\x89ccollections\nOrderedDict\n]\x85Rtbea\x85R.",
            b"\x80\x02]q\x01U\x0212q\x02a.",
            &2u64.to_le_bytes(),
            &0.5f32.to_le_bytes(),
            &(-3.0f32).to_le_bytes(),
        ];
        assert_eq!(values(&program.concat(), "a"), (vec![2], vec![0.5, -3.0]));
    }

    #[test]
    fn damage_is_refused() {
        let refused = |bytes: &[u8], expected: &str| {
            let error = read(Path::new("legacy.pth"), bytes).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        for length in MAGIC_NUMBER.len()..FILE.len() {
            assert!(read(Path::new("legacy.pth"), &FILE[..length]).is_err(), "{length}");
        }
        refused(&FILE[..FILE.len() - 1], "cut short in storage");
        let replaced = |from: &[u8], to: &[u8]| {
            let at = FILE.windows(from.len()).position(|window| window == from).unwrap();
            [&FILE[..at], to, &FILE[at + from.len()..]].concat()
        };
        refused(&replaced(b"_rebuild_tensor_v2", b"_exec"), "_exec");
        refused(&replaced(b"M\xe9\x03", b"M\xea\x03"), "protocol");
        let big = replaced(b"little_endianq\x02\x88", b"little_endianq\x02\x89");
        refused(&big, "little-endian");
        let count = FILE.len() - 4 * 4 - 8;
        let mut other = FILE.to_vec();
        other[count] = 5;
        refused(&other, "has 5 numbers");
    }
}

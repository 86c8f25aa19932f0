//! A reader for PyTorch state dicts that can do nothing but read tensors.
//!
//! A pickle is a program for a stack machine. This one knows the dozen opcodes `torch.save` uses
//! for a state dict and four callables, which it interprets itself; any other callable is refused
//! by name. Values are shared, not copied, so a small file cannot unfold into a large structure.
//!
//! Format: a zip archive (stored, not compressed) with `<name>/data.pkl` and one file
//! `<name>/data/<key>` of little-endian numbers per storage (torch/serialization.py, torch 1.6 and
//! later).

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    io::{Cursor, Read},
    path::Path,
    rc::Rc,
};

use candle_core::{DType, Device, Tensor};

use super::safetensors::require_finite;
use crate::{CoreError, Result};

/// Values on the stack at once; a state dict of this model needs under a thousand.
const MAX_STACK: usize = 1 << 16;

#[derive(Clone)]
enum Value {
    Mark,
    Int(i64),
    Text(Rc<str>),
    Tuple(Rc<Vec<Value>>),
    List,
    Dict(Rc<RefCell<Vec<(Value, Value)>>>),
    Callable(Callable),
    Storage(Rc<Storage>),
    Tensor(Rc<Entry>),
    /// None, booleans, floats: nothing a state dict's tensors depend on.
    Other,
}

#[derive(Clone, Copy, PartialEq)]
enum Callable {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    StorageType(DType),
}

struct Storage {
    dtype: DType,
    key: Rc<str>,
}

struct Entry {
    storage: Rc<Storage>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<usize>,
}

/// Tensors of a state dict, or of the `state_dict` entry of a training checkpoint.
pub(super) fn read(path: &Path, bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    let malformed = |reason: String| CoreError::Malformed {
        path: path.into(),
        reason: format!("{reason}; save it again with torch.save(model.state_dict(), FILE)"),
    };
    let mut archive = zip::ZipArchive::new(Cursor::new(bytes))
        .map_err(|error| malformed(format!("the archive is cut short or damaged ({error})")))?;
    let mut pickle_name = None;
    for index in 0..archive.len() {
        let entry = archive
            .by_index(index)
            .map_err(|error| malformed(format!("the archive is damaged ({error})")))?;
        let name = entry.name().map_err(|error| malformed(error.to_string()))?.into_owned();
        if name.ends_with("/data.pkl") || name == "data.pkl" {
            pickle_name = Some(name);
        }
    }
    let Some(pickle_name) = pickle_name else {
        return Err(malformed(
            "the archive holds no data.pkl, so it is not from torch.save".into(),
        ));
    };
    let folder = pickle_name.trim_end_matches("data.pkl").to_string();
    let program = read_entry(&mut archive, &pickle_name, bytes.len()).map_err(&malformed)?;
    let root = Machine { path, program: &program, at: 0, stack: Vec::new(), memo: HashMap::new() }
        .run()?;

    let entries = state_dict(&root)
        .ok_or_else(|| malformed("it holds no state dict (a dict of tensors by name)".into()))?;
    let mut storages: HashMap<Rc<str>, Vec<u8>> = HashMap::new();
    let mut tensors = BTreeMap::new();
    for (name, entry) in entries {
        let key = &entry.storage.key;
        if !storages.contains_key(key) {
            let file = format!("{folder}data/{key}");
            let raw = read_entry(&mut archive, &file, bytes.len())
                .map_err(|reason| malformed(format!("tensor {name}: {reason}")))?;
            storages.insert(key.clone(), raw);
        }
        let tensor = tensor(&entry, &storages[key])
            .map_err(|reason| malformed(format!("tensor {name}: {reason}")))?;
        require_finite(path, &name, &tensor)?;
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// A stored file of the archive; it cannot be larger than the archive itself.
fn read_entry(
    archive: &mut zip::ZipArchive<Cursor<&[u8]>>,
    name: &str,
    limit: usize,
) -> std::result::Result<Vec<u8>, String> {
    let entry = archive.by_name(name).map_err(|error| format!("{name}: {error}"))?;
    if entry.size() > limit as u64 {
        return Err(format!("{name} claims {} bytes, more than the file has", entry.size()));
    }
    let mut content = Vec::new();
    entry
        .take(limit as u64)
        .read_to_end(&mut content)
        .map_err(|error| format!("{name} is damaged ({error})"))?;
    Ok(content)
}

fn state_dict(root: &Value) -> Option<Vec<(String, Rc<Entry>)>> {
    let Value::Dict(items) = root else { return None };
    let items = items.borrow();
    for (key, value) in items.iter() {
        if let (Value::Text(key), Value::Dict(_)) = (key, value)
            && ["state_dict", "model_state_dict", "model"].contains(&&**key)
        {
            return state_dict(value);
        }
    }
    let tensors: Vec<_> = items
        .iter()
        .filter_map(|(key, value)| match (key, value) {
            (Value::Text(name), Value::Tensor(entry)) => Some((name.to_string(), entry.clone())),
            _ => None,
        })
        .collect();
    (!tensors.is_empty()).then_some(tensors)
}

fn tensor(entry: &Entry, raw: &[u8]) -> std::result::Result<Tensor, String> {
    let size = entry.storage.dtype.size_in_bytes();
    let available = raw.len() / size;
    let count = entry.shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
    let Some(count) = count.filter(|&count| count <= available) else {
        return Err(format!("shape {:?} needs more numbers than the file has", entry.shape));
    };
    let mut gathered = Vec::with_capacity(count * size);
    let mut index = vec![0usize; entry.shape.len()];
    for _ in 0..count {
        let position = index
            .iter()
            .zip(&entry.strides)
            .try_fold(entry.offset, |sum, (&i, &stride)| i.checked_mul(stride)?.checked_add(sum))
            .filter(|&position| position < available)
            .ok_or("it reaches past its storage")?;
        gathered.extend_from_slice(&raw[position * size..][..size]);
        for (i, &n) in index.iter_mut().zip(&entry.shape).rev() {
            *i += 1;
            if *i < n {
                break;
            }
            *i = 0;
        }
    }
    Tensor::from_raw_buffer(&gathered, entry.storage.dtype, &entry.shape, &Device::Cpu)
        .map_err(|error| error.to_string())
}

struct Machine<'a> {
    path: &'a Path,
    program: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
}

impl Machine<'_> {
    fn malformed(&self, reason: impl std::fmt::Display) -> CoreError {
        CoreError::Malformed {
            path: self.path.into(),
            reason: format!(
                "its pickle is damaged or of another kind (byte {}: {reason})",
                self.at
            ),
        }
    }

    fn take(&mut self, count: usize) -> Result<&[u8]> {
        let start = self.at;
        match start.checked_add(count).filter(|&end| end <= self.program.len()) {
            Some(end) => {
                self.at = end;
                Ok(&self.program[start..end])
            }
            None => Err(self.malformed("it ends too early")),
        }
    }

    fn byte(&mut self) -> Result<u8> {
        Ok(self.take(1)?[0])
    }

    fn word(&mut self) -> Result<u32> {
        let bytes = self.take(4)?;
        Ok(u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]))
    }

    fn line(&mut self) -> Result<String> {
        let rest = &self.program[self.at..];
        let Some(length) = rest.iter().position(|&byte| byte == b'\n') else {
            return Err(self.malformed("it ends too early"));
        };
        let line = String::from_utf8_lossy(&rest[..length]).trim_end_matches('\r').to_string();
        self.at += length + 1;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Result<Value> {
        let bytes = self.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(Value::Text(text.into())),
            Err(_) => Err(self.malformed("a name is not UTF-8")),
        }
    }

    fn push(&mut self, value: Value) -> Result<()> {
        if self.stack.len() >= MAX_STACK {
            return Err(self.malformed("it grows without bound"));
        }
        self.stack.push(value);
        Ok(())
    }

    fn pop(&mut self) -> Result<Value> {
        self.stack.pop().ok_or_else(|| self.malformed("its stack is empty"))
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Value>> {
        match self.stack.iter().rposition(|value| matches!(value, Value::Mark)) {
            Some(mark) => {
                let values = self.stack.split_off(mark + 1);
                self.stack.pop();
                Ok(values)
            }
            None => Err(self.malformed("a mark is missing")),
        }
    }

    fn memoise(&mut self, id: u32) -> Result<()> {
        let Some(value) = self.stack.last().cloned() else {
            return Err(self.malformed("its stack is empty"));
        };
        if self.memo.len() >= MAX_STACK {
            return Err(self.malformed("it grows without bound"));
        }
        self.memo.insert(id, value);
        Ok(())
    }

    fn recall(&mut self, id: u32) -> Result<()> {
        match self.memo.get(&id).cloned() {
            Some(value) => self.push(value),
            None => Err(self.malformed("it recalls what it never stored")),
        }
    }

    fn set_items(&mut self, items: Vec<Value>) -> Result<()> {
        let Some(Value::Dict(dict)) = self.stack.last() else {
            return Err(self.malformed("items are set on something that is not a dict"));
        };
        let mut dict = dict.borrow_mut();
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            dict.push((key, value));
        }
        Ok(())
    }

    /// Interprets the program up to its STOP. Opcodes: CPython's Lib/pickletools.py.
    fn run(mut self) -> Result<Value> {
        loop {
            match self.byte()? {
                0x80 => {
                    let protocol = self.byte()?;
                    if protocol > 4 {
                        return Err(self.malformed(format_args!("pickle protocol {protocol}")));
                    }
                }
                0x95 => drop(self.take(8)?),
                b'.' => return self.pop(),
                b'(' => self.push(Value::Mark)?,
                b'N' | 0x88 | 0x89 => self.push(Value::Other)?,
                b'G' => {
                    self.take(8)?;
                    self.push(Value::Other)?;
                }
                b'J' => {
                    let value = self.word()? as i32;
                    self.push(Value::Int(value.into()))?;
                }
                b'K' => {
                    let value = self.byte()?;
                    self.push(Value::Int(value.into()))?;
                }
                b'M' => {
                    let bytes = self.take(2)?;
                    let value = u16::from_le_bytes([bytes[0], bytes[1]]);
                    self.push(Value::Int(value.into()))?;
                }
                0x8a => {
                    let length = self.byte()? as usize;
                    let bytes = self.take(length)?;
                    if length > 8 {
                        return Err(self.malformed("an integer of more than 64 bits"));
                    }
                    let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
                    let mut whole = [if negative { 0xff } else { 0 }; 8];
                    whole[..length].copy_from_slice(bytes);
                    self.push(Value::Int(i64::from_le_bytes(whole)))?;
                }
                b'X' => {
                    let length = self.word()? as usize;
                    let text = self.text(length)?;
                    self.push(text)?;
                }
                0x8c => {
                    let length = self.byte()? as usize;
                    let text = self.text(length)?;
                    self.push(text)?;
                }
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    let callable = self.callable(&module, &name)?;
                    self.push(callable)?;
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Text(module), Value::Text(name)) = (module, name) else {
                        return Err(self.malformed("a callable without a name"));
                    };
                    let callable = self.callable(&module, &name)?;
                    self.push(callable)?;
                }
                b'q' => {
                    let id = self.byte()?.into();
                    self.memoise(id)?;
                }
                b'r' => {
                    let id = self.word()?;
                    self.memoise(id)?;
                }
                0x94 => self.memoise(self.memo.len() as u32)?,
                b'h' => {
                    let id = self.byte()?.into();
                    self.recall(id)?;
                }
                b'j' => {
                    let id = self.word()?;
                    self.recall(id)?;
                }
                b')' => self.push(Value::Tuple(Rc::new(Vec::new())))?,
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push(Value::Tuple(Rc::new(items)))?;
                }
                opcode @ 0x85..=0x87 => {
                    let count = usize::from(opcode - 0x84);
                    let Some(first) = self.stack.len().checked_sub(count) else {
                        return Err(self.malformed("its stack is empty"));
                    };
                    let items = self.stack.split_off(first);
                    self.push(Value::Tuple(Rc::new(items)))?;
                }
                b']' => self.push(Value::List)?,
                b'a' => drop(self.pop()?),
                b'e' => drop(self.pop_to_mark()?),
                b'}' => self.push(Value::Dict(Rc::default()))?,
                b's' => {
                    let (value, key) = (self.pop()?, self.pop()?);
                    self.set_items(vec![key, value])?;
                }
                b'u' => {
                    let items = self.pop_to_mark()?;
                    self.set_items(items)?;
                }
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(id)?;
                    self.push(storage)?;
                }
                b'R' => {
                    let (arguments, callable) = (self.pop()?, self.pop()?);
                    let value = self.reduce(callable, arguments)?;
                    self.push(value)?;
                }
                // An OrderedDict's attributes (`_metadata`) are of no use here.
                b'b' => drop(self.pop()?),
                other => {
                    return Err(self.malformed(format_args!("opcode 0x{other:02x}")));
                }
            }
        }
    }

    fn callable(&self, module: &str, name: &str) -> Result<Value> {
        Ok(Value::Callable(match (module, name) {
            ("collections", "OrderedDict") => Callable::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2") => Callable::RebuildTensor,
            ("torch._utils", "_rebuild_parameter") => Callable::RebuildParameter,
            ("torch", "FloatStorage") => Callable::StorageType(DType::F32),
            ("torch", "DoubleStorage") => Callable::StorageType(DType::F64),
            ("torch", "HalfStorage") => Callable::StorageType(DType::F16),
            ("torch", "BFloat16Storage") => Callable::StorageType(DType::BF16),
            ("torch", "LongStorage") => Callable::StorageType(DType::I64),
            _ => {
                return Err(CoreError::UnsafePickle {
                    path: self.path.into(),
                    callable: format!("{module}.{name}"),
                });
            }
        }))
    }

    /// ("storage", type, key, location, count) as torch.save writes it.
    fn storage(&self, id: Value) -> Result<Value> {
        if let Value::Tuple(items) = &id
            && let [_, Value::Callable(Callable::StorageType(dtype)), Value::Text(key), ..] =
                items.as_slice()
        {
            return Ok(Value::Storage(Rc::new(Storage { dtype: *dtype, key: key.clone() })));
        }
        Err(self.malformed("a storage it does not describe"))
    }

    fn reduce(&self, callable: Value, arguments: Value) -> Result<Value> {
        let (Value::Callable(callable), Value::Tuple(arguments)) = (callable, arguments) else {
            return Err(self.malformed("a call of something that is not callable"));
        };
        match (callable, arguments.as_slice()) {
            (Callable::OrderedDict, _) => Ok(Value::Dict(Rc::default())),
            (
                Callable::RebuildTensor,
                [Value::Storage(storage), Value::Int(offset), shape, strides, ..],
            ) => {
                let sizes = |value: &Value| match value {
                    Value::Tuple(items) => items
                        .iter()
                        .map(|item| match item {
                            Value::Int(n) => usize::try_from(*n).ok(),
                            _ => None,
                        })
                        .collect::<Option<Vec<usize>>>(),
                    _ => None,
                };
                match (usize::try_from(*offset), sizes(shape), sizes(strides)) {
                    (Ok(offset), Some(shape), Some(strides)) if shape.len() == strides.len() => {
                        let storage = storage.clone();
                        Ok(Value::Tensor(Rc::new(Entry { storage, offset, shape, strides })))
                    }
                    _ => Err(self.malformed("a tensor with an impossible shape")),
                }
            }
            (Callable::RebuildParameter, [tensor @ Value::Tensor(_), ..]) => Ok(tensor.clone()),
            _ => Err(self.malformed("a call with unexpected arguments")),
        }
    }
}

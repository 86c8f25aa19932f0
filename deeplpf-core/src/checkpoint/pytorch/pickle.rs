//! A pickle interpreter that can do nothing but describe tensors.
//!
//! A pickle is a program for a stack machine. This one knows the opcodes `torch.save` uses for a
//! state dict and a few callables, which it interprets itself; any other callable is refused by
//! name. Values are shared, not copied, so a small file cannot unfold into a large structure; and
//! what is put inside something else is never changed again, so structures have a bounded depth and
//! no cycles.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    path::Path,
    rc::Rc,
};

use candle_core::DType;

use crate::{CoreError, Result};

/// Values on the stack at once; a state dict of this model needs under a thousand.
const MAX_STACK: usize = 1 << 16;
/// Containers within containers; a training checkpoint has under ten.
const MAX_DEPTH: usize = 32;

#[derive(Clone)]
pub(super) enum Value {
    Mark,
    Int(i64),
    Text(Rc<str>),
    Tuple(Rc<Tuple>),
    List(Rc<List>),
    Dict(Rc<Dict>),
    Callable(Callable),
    Storage(Rc<Storage>),
    Tensor(Rc<Entry>),
    /// None, booleans, floats: nothing a state dict's tensors depend on.
    Other,
}

#[derive(Clone, Copy, PartialEq)]
pub(super) enum Callable {
    OrderedDict,
    RebuildTensor,
    RebuildParameter,
    /// The class itself, which PyTorch before 0.4 called.
    Parameter,
    StorageType(DType),
}

pub(super) struct Tuple {
    items: Vec<Value>,
    depth: usize,
}

#[derive(Default)]
pub(super) struct List {
    pub items: RefCell<Vec<Value>>,
    depth: Cell<usize>,
    /// As [`Dict`]'s.
    enclosed: Cell<bool>,
}

#[derive(Default)]
pub(super) struct Dict {
    pub items: RefCell<Vec<(Value, Value)>>,
    depth: Cell<usize>,
    /// Whether it is inside another value; then it takes no more items.
    enclosed: Cell<bool>,
}

pub(super) struct Storage {
    pub dtype: DType,
    pub key: Rc<str>,
    /// Number of its elements.
    pub count: u64,
}

pub(super) struct Entry {
    pub storage: Rc<Storage>,
    pub offset: usize,
    pub shape: Vec<usize>,
    pub strides: Vec<usize>,
}

/// Runs the program of `path` and returns the value it leaves.
pub(super) fn interpret(path: &Path, program: &[u8]) -> Result<Value> {
    Ok(interpret_first(path, program)?.value)
}

/// What the first of several programs, one after the other, left.
pub(super) struct Finished {
    pub value: Value,
    /// Every storage it described.
    pub storages: Vec<Rc<Storage>>,
    /// Its length in bytes.
    pub length: usize,
}

/// Runs the program at the beginning of `programs`.
pub(super) fn interpret_first(path: &Path, programs: &[u8]) -> Result<Finished> {
    let mut machine = Machine {
        path,
        program: programs,
        at: 0,
        stack: Vec::new(),
        memo: HashMap::new(),
        storages: Vec::new(),
    };
    let value = machine.run()?;
    let Machine { storages, at: length, .. } = machine;
    Ok(Finished { value, storages, length })
}

struct Machine<'a> {
    path: &'a Path,
    program: &'a [u8],
    at: usize,
    stack: Vec<Value>,
    memo: HashMap<u32, Value>,
    storages: Vec<Rc<Storage>>,
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

    /// The depth of something that holds `value`, which is final from now on.
    fn enclose(&self, value: &Value) -> Result<usize> {
        let depth = match value {
            Value::Tuple(tuple) => tuple.depth,
            Value::Dict(dict) => {
                dict.enclosed.set(true);
                dict.depth.get()
            }
            Value::List(list) => {
                list.enclosed.set(true);
                list.depth.get()
            }
            _ => 0,
        };
        if depth >= MAX_DEPTH {
            return Err(self.malformed("it is nested too deeply"));
        }
        Ok(depth + 1)
    }

    fn push_tuple(&mut self, items: Vec<Value>) -> Result<()> {
        let mut depth = 1;
        for item in &items {
            depth = depth.max(self.enclose(item)?);
        }
        self.push(Value::Tuple(Rc::new(Tuple { items, depth })))
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
        let Some(Value::Dict(dict)) = self.stack.last().cloned() else {
            return Err(self.malformed("items are set on something that is not a dict"));
        };
        let mut items = items.into_iter();
        while let (Some(key), Some(value)) = (items.next(), items.next()) {
            let depth = self.enclose(&key)?.max(self.enclose(&value)?);
            if dict.enclosed.get() {
                return Err(self.malformed("a dict changes after it was put into another value"));
            }
            dict.depth.set(dict.depth.get().max(depth));
            dict.items.borrow_mut().push((key, value));
        }
        Ok(())
    }

    fn append(&mut self, items: Vec<Value>) -> Result<()> {
        let Some(Value::List(list)) = self.stack.last().cloned() else {
            return Err(self.malformed("something is appended to what is not a list"));
        };
        for item in items {
            let depth = self.enclose(&item)?;
            if list.enclosed.get() {
                return Err(self.malformed("a list changes after it was put into another value"));
            }
            list.depth.set(list.depth.get().max(depth));
            list.items.borrow_mut().push(item);
        }
        Ok(())
    }

    /// Interprets the program up to its STOP. Opcodes: CPython's Lib/pickletools.py.
    fn run(&mut self) -> Result<Value> {
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
                // Python 2 writes bytes where Python 3 writes text.
                b'T' => {
                    let length = self.word()? as usize;
                    let text = self.text(length)?;
                    self.push(text)?;
                }
                0x8c | b'U' => {
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
                b')' => self.push_tuple(Vec::new())?,
                b't' => {
                    let items = self.pop_to_mark()?;
                    self.push_tuple(items)?;
                }
                opcode @ 0x85..=0x87 => {
                    let count = usize::from(opcode - 0x84);
                    let Some(first) = self.stack.len().checked_sub(count) else {
                        return Err(self.malformed("its stack is empty"));
                    };
                    let items = self.stack.split_off(first);
                    self.push_tuple(items)?;
                }
                b']' => self.push(Value::List(Rc::default()))?,
                b'a' => {
                    let item = self.pop()?;
                    self.append(vec![item])?;
                }
                b'e' => {
                    let items = self.pop_to_mark()?;
                    self.append(items)?;
                }
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
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Callable::RebuildTensor,
            ("torch.nn.parameter", "Parameter") => Callable::Parameter,
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

    /// ("storage", type, key, location, count) as torch.save writes it; before 1.6 followed by None
    /// or, for a part of another storage, by a tuple.
    fn storage(&mut self, id: Value) -> Result<Value> {
        if let Value::Tuple(tuple) = &id
            && let [
                _,
                Value::Callable(Callable::StorageType(dtype)),
                Value::Text(key),
                _,
                Value::Int(count),
                view @ ..,
            ] = tuple.items.as_slice()
            && let Ok(count) = u64::try_from(*count)
        {
            if let [Value::Tuple(_), ..] = view {
                return Err(self.malformed("a storage that is part of another, as before 0.4"));
            }
            let storage = Rc::new(Storage { dtype: *dtype, key: key.clone(), count });
            if self.storages.len() >= MAX_STACK {
                return Err(self.malformed("it grows without bound"));
            }
            self.storages.push(storage.clone());
            return Ok(Value::Storage(storage));
        }
        Err(self.malformed("a storage it does not describe"))
    }

    fn reduce(&self, callable: Value, arguments: Value) -> Result<Value> {
        let (Value::Callable(callable), Value::Tuple(arguments)) = (callable, arguments) else {
            return Err(self.malformed("a call of something that is not callable"));
        };
        match (callable, arguments.items.as_slice()) {
            // Python 2 gives it its items as a list of lists.
            (Callable::OrderedDict, [Value::List(list)]) => {
                let dict = Rc::<Dict>::default();
                dict.depth.set(list.depth.get());
                // Moved, not copied: many dicts of one list would unfold a small file.
                for item in list.items.take() {
                    let Value::List(item) = &item else {
                        return Err(self.malformed("an OrderedDict of something else than pairs"));
                    };
                    let [key, value] = &item.items.borrow()[..] else {
                        return Err(self.malformed("an OrderedDict of something else than pairs"));
                    };
                    dict.items.borrow_mut().push((key.clone(), value.clone()));
                }
                Ok(Value::Dict(dict))
            }
            (Callable::OrderedDict, _) => Ok(Value::Dict(Rc::default())),
            (
                Callable::RebuildTensor,
                [Value::Storage(storage), Value::Int(offset), shape, strides, ..],
            ) => {
                let sizes = |value: &Value| match value {
                    Value::Tuple(tuple) => tuple
                        .items
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
            (Callable::RebuildParameter | Callable::Parameter, [tensor @ Value::Tensor(_), ..]) => {
                Ok(tensor.clone())
            }
            _ => Err(self.malformed("a call with unexpected arguments")),
        }
    }
}

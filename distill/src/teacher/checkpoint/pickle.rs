//! Python's pickle as far as `torch.save` writes it (protocols 2 to 4, `Lib/pickletools.py`).
//!
//! Only data is read: a call that is not known to make a tensor becomes an opaque item, nothing is
//! ever executed. Items refer to each other by number, so memory grows with the file, not with
//! what it repeats.
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use std::collections::BTreeMap;

use super::cursor::Cursor;
use super::weights::Kind;

/// Most items of one pickle: a hundred times the largest optimizer states of image networks.
const MOST_ITEMS: usize = 1 << 22;

/// Number of an item.
pub(super) type Id = usize;

/// One Python object.
pub(super) enum Item<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// An integer beyond 64 bits, as its little-endian bytes.
    Long(&'a [u8]),
    Text(&'a str),
    /// A tuple or a list.
    List(Vec<Id>),
    Dict(Vec<(Id, Id)>),
    /// A class or function by module and name.
    Global(&'a str, &'a str),
    Storage(Storage<'a>),
    Tensor(Box<TensorRef<'a>>),
    /// Floats, sets, objects of other classes: nothing that weights need.
    Other,
}

/// A run of elements that lies elsewhere in the file.
#[derive(Clone, Copy)]
pub(super) struct Storage<'a> {
    pub(super) kind: Kind,
    pub(super) key: &'a str,
    /// Number of elements.
    pub(super) elements: usize,
}

/// A view of a storage.
pub(super) struct TensorRef<'a> {
    pub(super) storage: Storage<'a>,
    /// First element in the storage.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    /// In elements.
    pub(super) strides: Vec<usize>,
}

/// A pickle that was read.
pub(super) struct Pickle<'a> {
    items: Vec<Item<'a>>,
    root: Id,
}

impl<'a> Pickle<'a> {
    /// Reads one pickle; `cursor` is then behind it.
    pub(super) fn read(cursor: &mut Cursor<'a>) -> Result<Self, String> {
        let mut machine = Machine::default();
        loop {
            let code = cursor.u8()?;
            if code == b'.' {
                let root = machine.pop()?;
                return Ok(Self { items: machine.items, root });
            }
            machine.step(code, cursor)?;
        }
    }

    pub(super) fn root(&self) -> &Item<'a> {
        self.item(self.root)
    }

    pub(super) fn item(&self, id: Id) -> &Item<'a> {
        self.items.get(id).unwrap_or(&Item::Other)
    }

    /// All objects, in the order in which they were made.
    pub(super) fn items(&self) -> &[Item<'a>] {
        &self.items
    }
}

/// The machine that pickles are programs for.
#[derive(Default)]
pub(super) struct Machine<'a> {
    items: Vec<Item<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack at each open mark.
    marks: Vec<usize>,
    memo: BTreeMap<usize, Id>,
}

impl<'a> Machine<'a> {
    fn step(&mut self, code: u8, cursor: &mut Cursor<'a>) -> Result<(), String> {
        let item = match code {
            0x80 => return cursor.u8().map(drop),
            // The length of a frame, which only helps readers of streams.
            0x95 => return cursor.u64().map(drop),
            b'(' => {
                self.marks.push(self.stack.len());
                return Ok(());
            }
            b'q' => return cursor.u8().and_then(|key| self.remember(key.into())),
            b'r' => return cursor.u32().and_then(|key| self.remember(key as usize)),
            0x94 => return self.remember(self.memo.len()),
            b'h' => return cursor.u8().and_then(|key| self.recall(key.into())),
            b'j' => return cursor.u32().and_then(|key| self.recall(key as usize)),
            b'1' => return self.pop_to_mark().map(drop),
            // POP; and BUILD, whose state is an attribute, as `_metadata` of a state dict.
            b'0' | b'b' => return self.pop().map(drop),
            b'a' => {
                let value = self.pop()?;
                return self.append(vec![value]);
            }
            b'e' | 0x90 => {
                let values = self.pop_to_mark()?;
                return self.append(values);
            }
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                return self.set(&[key, value]);
            }
            b'u' => {
                let values = self.pop_to_mark()?;
                return self.set(&values);
            }
            b'N' => Item::None,
            0x88 => Item::Bool(true),
            0x89 => Item::Bool(false),
            b'K' => Item::Int(cursor.u8()?.into()),
            b'M' => Item::Int(cursor.u16()?.into()),
            b'J' => Item::Int(i32::from_le_bytes(cursor.array()?).into()),
            0x8a => {
                let length = cursor.u8()?.into();
                long(cursor.take(length)?)
            }
            b'G' => cursor.take(8).map(|_| Item::Other)?,
            b'X' | b'T' => {
                let length = cursor.u32()?.into();
                Item::Text(text(cursor.take_long(length)?)?)
            }
            0x8c | b'U' => {
                let length = cursor.u8()?.into();
                Item::Text(text(cursor.take(length)?)?)
            }
            0x8d => {
                let length = cursor.u64()?;
                Item::Text(text(cursor.take_long(length)?)?)
            }
            b'B' => {
                let length = cursor.u32()?.into();
                cursor.take_long(length).map(|_| Item::Other)?
            }
            b'C' => {
                let length = cursor.u8()?.into();
                cursor.take(length).map(|_| Item::Other)?
            }
            b')' | b']' => Item::List(Vec::new()),
            b't' | b'l' => Item::List(self.pop_to_mark()?),
            0x85..=0x87 => {
                let count = usize::from(code).saturating_sub(0x84);
                let height = self.stack.len().checked_sub(count).ok_or_else(underflow)?;
                Item::List(self.stack.split_off(height))
            }
            b'}' => Item::Dict(Vec::new()),
            b'd' => Item::Dict(pairs(&self.pop_to_mark()?)?),
            0x8f => Item::Other,
            b'c' => Item::Global(text(cursor.line()?)?, text(cursor.line()?)?),
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.item(module), self.item(name)) {
                    (Item::Text(module), Item::Text(name)) => Item::Global(module, name),
                    _ => return Err("names a class by something else than text".into()),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                self.persistent(id)?
            }
            b'R' | 0x81 => {
                let (arguments, function) = (self.pop()?, self.pop()?);
                return match self.call(function, arguments)? {
                    Ok(known) => {
                        self.stack.push(known);
                        Ok(())
                    }
                    Err(made) => self.push(made),
                };
            }
            other => {
                return Err(format!(
                    "holds the pickle instruction 0x{other:02x}, which torch.save does not write: \
                     it is damaged, or no checkpoint"
                ));
            }
        };
        self.push(item)
    }

    pub(super) fn item(&self, id: Id) -> &Item<'a> {
        self.items.get(id).unwrap_or(&Item::Other)
    }

    /// The items of a tuple or list; none of anything else.
    pub(super) fn list(&self, id: Id) -> &[Id] {
        match self.item(id) {
            Item::List(ids) => ids,
            _ => &[],
        }
    }

    fn push(&mut self, item: Item<'a>) -> Result<(), String> {
        if self.items.len() >= MOST_ITEMS {
            return Err(format!(
                "holds more than {MOST_ITEMS} objects: save model.state_dict() alone"
            ));
        }
        self.stack.push(self.items.len());
        self.items.push(item);
        Ok(())
    }

    fn pop(&mut self) -> Result<Id, String> {
        self.stack.pop().ok_or_else(underflow)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, String> {
        let height = self.marks.pop().filter(|&h| h <= self.stack.len()).ok_or_else(underflow)?;
        Ok(self.stack.split_off(height))
    }

    fn remember(&mut self, key: usize) -> Result<(), String> {
        let id = *self.stack.last().ok_or_else(underflow)?;
        self.memo.insert(key, id);
        Ok(())
    }

    fn recall(&mut self, key: usize) -> Result<(), String> {
        let id = *self.memo.get(&key).ok_or("refers to an object that it does not hold")?;
        self.stack.push(id);
        Ok(())
    }

    fn append(&mut self, values: Vec<Id>) -> Result<(), String> {
        let id = *self.stack.last().ok_or_else(underflow)?;
        if let Some(Item::List(list)) = self.items.get_mut(id) {
            list.extend(values);
        }
        Ok(())
    }

    fn set(&mut self, values: &[Id]) -> Result<(), String> {
        let id = *self.stack.last().ok_or_else(underflow)?;
        if let Some(Item::Dict(dict)) = self.items.get_mut(id) {
            dict.extend(pairs(values)?);
        }
        Ok(())
    }
}

fn pairs(values: &[Id]) -> Result<Vec<(Id, Id)>, String> {
    let (pairs, rest) = values.as_chunks::<2>();
    if !rest.is_empty() {
        return Err("has a key without a value: it is damaged".into());
    }
    Ok(pairs.iter().map(|&[key, value]| (key, value)).collect())
}

fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|e| format!("holds a text that is not UTF-8: {e}"))
}

/// A two's complement integer of any length.
fn long(bytes: &[u8]) -> Item<'_> {
    let negative = bytes.last().is_some_and(|&b| b >= 0x80);
    let mut extended = [if negative { 0xff } else { 0 }; 8];
    match extended.get_mut(..bytes.len()) {
        Some(low) => {
            low.copy_from_slice(bytes);
            Item::Int(i64::from_le_bytes(extended))
        }
        None => Item::Long(bytes),
    }
}

fn underflow() -> String {
    "takes objects that it never made: it is damaged".into()
}

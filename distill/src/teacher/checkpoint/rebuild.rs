//! What the calls in a PyTorch pickle stand for: storages and tensors (`torch/_utils.py`).
#![deny(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects
)]

use super::pickle::{Id, Item, Machine, Storage, TensorRef};
use super::weights::Kind;

/// Most dimensions of a tensor.
const MOST_DIMENSIONS: usize = 8;

impl<'a> Machine<'a> {
    /// A storage, written as `('storage', class, key, location, elements[, view])`.
    pub(super) fn persistent(&self, id: Id) -> Result<Item<'a>, String> {
        let &[tag, class, key, _, elements, ref view @ ..] = self.list(id) else {
            return Ok(Item::Other);
        };
        let (Item::Text("storage"), Item::Global(_, class), Item::Text(key), &Item::Int(elements)) =
            (self.item(tag), self.item(class), self.item(key), self.item(elements))
        else {
            return Ok(Item::Other);
        };
        if view.iter().any(|&id| !matches!(self.item(id), Item::None)) {
            return Err(format!("storage {key:?} is a view of another: save the state dict again"));
        }
        let kind = Kind::of_storage(class)
            .ok_or_else(|| format!("storage {key:?} is a {class}, which is not read"))?;
        let elements = usize::try_from(elements)
            .map_err(|_| format!("storage {key:?} has {elements} elements"))?;
        Ok(Item::Storage(Storage { kind, key, elements }))
    }

    /// What a call gives: an item that exists, or a new one.
    pub(super) fn call(&self, function: Id, arguments: Id) -> Result<Result<Id, Item<'a>>, String> {
        let arguments = self.list(arguments);
        Ok(match (self.item(function), arguments) {
            (Item::Global("collections", "OrderedDict"), []) => Err(Item::Dict(Vec::new())),
            (Item::Global("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2"), ids) => {
                Err(self.tensor(ids)?)
            }
            (Item::Global("torch._utils", "_rebuild_parameter"), &[data, ..]) => Ok(data),
            // A subclass of Tensor: (function, class, arguments, state).
            (Item::Global("torch._tensor", "_rebuild_from_type_v2"), &[inner, _, ids, ..])
                if matches!(
                    self.item(inner),
                    Item::Global("torch._utils", "_rebuild_tensor" | "_rebuild_tensor_v2")
                ) =>
            {
                Err(self.tensor(self.list(ids))?)
            }
            _ => Err(Item::Other),
        })
    }

    /// A tensor of `(storage, offset, shape, strides, …)`.
    fn tensor(&self, arguments: &[Id]) -> Result<Item<'a>, String> {
        let broken = || "describes a tensor in a way that is not read".to_string();
        let &[storage, offset, shape, strides, ..] = arguments else { return Err(broken()) };
        let (&Item::Storage(storage), &Item::Int(offset)) = (self.item(storage), self.item(offset))
        else {
            return Err(broken());
        };
        let sizes = |id| -> Result<Vec<usize>, String> {
            let ids = self.list(id);
            if ids.len() > MOST_DIMENSIONS {
                return Err(format!("has a tensor of {} dimensions", ids.len()));
            }
            let size = |&id: &Id| match self.item(id) {
                &Item::Int(size) => usize::try_from(size).map_err(|_| broken()),
                _ => Err(broken()),
            };
            ids.iter().map(size).collect()
        };
        let (shape, strides) = (sizes(shape)?, sizes(strides)?);
        let offset = usize::try_from(offset).map_err(|_| broken())?;
        if shape.len() != strides.len() {
            return Err(broken());
        }
        Ok(Item::Tensor(Box::new(TensorRef { storage, offset, shape, strides })))
    }
}

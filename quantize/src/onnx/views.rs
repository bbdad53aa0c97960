//! Names of values that an importer knows in another order of elements than the file.

use hipflask_runtime::Result;
use hipflask_runtime::graph::ValueId;

use super::importer::Importer;
use super::node::{OnnxNode, fault};
use super::ops;

impl<'a> Importer<'a> {
    /// The image `[n, c, h, w]` that the file sees as `[n, h, w, c]` in input `index`.
    pub(super) fn view(&self, node: OnnxNode<'a>, index: usize) -> Option<ValueId> {
        self.views.get(node.input(index)?).copied()
    }

    /// Makes `name` the image `id` with channels last.
    pub(super) fn bind_view(&mut self, name: &'a str, id: ValueId) -> Result<()> {
        match self.views.insert(name, id) {
            None => Ok(()),
            Some(_) => Err(fault(format!("{name:?} is computed twice"))),
        }
    }

    /// Makes `node`'s output the planes `[n, c, h · w]` of `image` where they are only transposed to
    /// tokens; says whether.
    pub(super) fn bind_planes(&mut self, node: OnnxNode<'a>, image: ValueId) -> Result<bool> {
        let output = node.output()?;
        let tokens = self.only_reader(output).is_some_and(|(_, reader)| {
            reader.op() == "Transpose" && reader.ints("perm") == Some(&[0, 2, 1])
        });
        if tokens {
            self.planes.insert(output, image);
        }
        Ok(tokens)
    }

    /// The image of whose planes input `index` is `[n, c, h · w]`.
    pub(super) fn planes(&self, node: OnnxNode<'a>, index: usize) -> Option<ValueId> {
        self.planes.get(node.input(index)?).copied()
    }

    /// Notes that `flat` is in the file's order `[h, w, c]`, and here in another.
    pub(super) fn note_pixels_flattened(&mut self, flat: ValueId, image: [usize; 3]) {
        self.pixels.insert(flat, image);
    }

    /// `[h, w, c]` of what was flattened to `flat` with channels last.
    pub(super) fn pixels_flattened(&self, flat: ValueId) -> Option<[usize; 3]> {
        self.pixels.get(&flat).copied()
    }

    /// Lets an elementwise `node` that reads such views compute with the images themselves; says
    /// whether it does. [`Importer::end_view`] makes its output a view again.
    pub(super) fn begin_view(&mut self, node: OnnxNode<'a>) -> bool {
        let mut images = Vec::new();
        for name in node.proto.input.iter().map(String::as_str) {
            match self.views.get(name) {
                Some(&id) => images.push((name, id)),
                None if self.values.contains_key(name) => return false,
                // A constant for each channel would be in the last dimension.
                None if self.constant(name).is_some() && matches!(node.op(), "Add" | "Mul") => {
                    return false;
                }
                None => {}
            }
        }
        if images.is_empty() || !ops::is_elementwise(node.op()) {
            return false;
        }
        self.values.extend(images);
        self.viewing = true;
        true
    }

    /// Ends what [`Importer::begin_view`] began.
    pub(super) fn end_view(&mut self, node: OnnxNode<'a>) {
        self.viewing = false;
        for name in &node.proto.input {
            if self.views.contains_key(name.as_str()) {
                self.values.remove(name.as_str());
            }
        }
    }
}

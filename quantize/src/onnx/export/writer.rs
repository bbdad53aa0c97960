//! Nodes, constants and names of the file that is written.

use std::collections::{BTreeMap, BTreeSet};

use hipflask_runtime::graph::{Graph, Node, ValueId};
use hipflask_runtime::quant::QuantParams;
use hipflask_runtime::{DType, Result, Tensor};

use super::super::proto::{
    AttributeProto, DimensionProto, GraphProto, NodeProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto,
};
use super::super::tensors::data_type;

/// The domain of ONNX Runtime's own operators.
pub(in crate::onnx) const CONTRIBUTED: &str = "com.microsoft";

/// Collects an ONNX graph.
pub(super) struct Writer<'a> {
    pub(super) graph: &'a Graph,
    proto: GraphProto,
    /// Names of values and constants, which share one space.
    taken: BTreeSet<String>,
    /// For int8 values that were dequantized: what that is called.
    real: BTreeMap<ValueId, String>,
    /// Constants of the writer's own, by what they are.
    shared: BTreeMap<String, String>,
    /// Whether operators of ONNX Runtime's own are among the nodes.
    contributed: bool,
}

impl<'a> Writer<'a> {
    /// A file with the inputs of `graph`, whose values keep their names.
    pub(super) fn new(graph: &'a Graph) -> Self {
        let values = |ids: &[ValueId]| ids.iter().map(|&id| port(graph, id)).collect();
        Self {
            proto: GraphProto {
                name: graph.name.clone(),
                input: values(&graph.inputs),
                output: values(&graph.outputs),
                ..Default::default()
            },
            taken: graph.values.iter().map(|value| value.name.clone()).collect(),
            real: BTreeMap::new(),
            shared: BTreeMap::new(),
            contributed: false,
            graph,
        }
    }

    /// The graph, and whether it has operators of [`CONTRIBUTED`].
    pub(super) fn finish(self) -> (GraphProto, bool) {
        (self.proto, self.contributed)
    }

    /// The name of a value.
    pub(super) fn name(&self, id: ValueId) -> String {
        self.graph.value(id).name.clone()
    }

    /// A name that nothing has, like `wanted`.
    pub(super) fn fresh(&mut self, wanted: &str) -> String {
        let mut name = wanted.to_string();
        for number in 2.. {
            if self.taken.insert(name.clone()) {
                break;
            }
            name = format!("{wanted}_{number}");
        }
        name
    }

    /// Adds a node with one output.
    pub(super) fn node<S: AsRef<str>>(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[S],
        output: &str,
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) {
        self.proto.node.push(NodeProto {
            input: inputs.iter().map(|name| name.as_ref().into()).collect(),
            output: vec![output.into()],
            name: name.into(),
            op_type: op.into(),
            attribute: attributes.into_iter().collect(),
            domain: String::new(),
        });
    }

    /// As [`node`](Self::node), of an operator of [`CONTRIBUTED`].
    pub(super) fn contributed(
        &mut self,
        op: &str,
        name: &str,
        inputs: &[&str],
        output: &str,
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) {
        self.node(op, name, inputs, output, attributes);
        self.contributed = true;
        if let Some(node) = self.proto.node.last_mut() {
            node.domain = CONTRIBUTED.into();
        }
    }

    /// Adds a node whose output is only a step of `node`; gives its name.
    pub(super) fn step<S: AsRef<str>>(
        &mut self,
        op: &str,
        node: &Node,
        part: &str,
        inputs: &[S],
        attributes: impl IntoIterator<Item = AttributeProto>,
    ) -> String {
        let name = self.fresh(&format!("{}.{part}", node.name));
        self.node(op, &name, inputs, &name, attributes);
        name
    }

    /// What a value is called as real numbers: itself, or dequantized where it is int8.
    pub(super) fn real(&mut self, id: ValueId) -> String {
        if self.graph.value(id).dtype != DType::I8 {
            return self.name(id);
        }
        if let Some(name) = self.real.get(&id) {
            return name.clone();
        }
        let name = self.fresh(&format!("{}.dq", self.graph.value(id).name));
        self.dequantize(&name, id, &name);
        self.real.insert(id, name.clone());
        name
    }

    /// Writes `y`, the int8 value `id`, from the real value called `x`.
    pub(super) fn quantize(&mut self, name: &str, x: &str, id: ValueId) {
        let [scale, zero] = self.params(id);
        let y = self.name(id);
        self.node("QuantizeLinear", name, &[x, &scale, &zero], &y, []);
    }

    /// Writes the real value called `y` from the int8 value `id`.
    pub(super) fn dequantize(&mut self, name: &str, id: ValueId, y: &str) {
        let [scale, zero] = self.params(id);
        let x = self.name(id);
        self.node("DequantizeLinear", name, &[&x, &scale, &zero], y, []);
    }

    /// Scale and zero point of an int8 value, as constants.
    #[expect(clippy::expect_used, reason = "a checked graph has them for each int8 value")]
    fn params(&mut self, id: ValueId) -> [String; 2] {
        let value = self.graph.value(id);
        let QuantParams { scale, zero_point } = value.quant.expect("parameters of an int8 value");
        let name = &value.name;
        [
            self.shared(&format!("{name}.scale"), &Tensor::from_f32([], &[scale])),
            self.shared(&format!("{name}.zero_point"), &Tensor::from_i8([], &[zero_point])),
        ]
    }

    /// Adds a constant; gives its name.
    pub(super) fn constant(&mut self, wanted: &str, tensor: &Tensor) -> String {
        let r#type = match tensor.dtype() {
            DType::I8 => data_type::INT8,
            DType::U8 => data_type::UINT8,
            DType::I32 => data_type::INT32,
            DType::F16 => data_type::FLOAT16,
            DType::F32 => data_type::FLOAT,
        };
        let dims = tensor.shape().iter().map(|&d| d as i64).collect();
        self.raw(wanted, dims, r#type, tensor.bytes().to_vec())
    }

    /// Adds the constant `wanted` of this name and content once.
    pub(super) fn shared(&mut self, wanted: &str, tensor: &Tensor) -> String {
        if let Some(name) = self.shared.get(wanted) {
            return name.clone();
        }
        let name = self.constant(wanted, tensor);
        self.shared.insert(wanted.into(), name.clone());
        name
    }

    /// One number, as a constant that all its users share.
    pub(super) fn number(&mut self, value: f32) -> String {
        self.shared(&format!("constant.{value:?}"), &Tensor::from_f32([], &[value]))
    }

    /// A list of whole numbers, as shapes and axes are.
    pub(super) fn ints(&mut self, wanted: &str, values: &[i64]) -> String {
        let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
        self.raw(wanted, vec![values.len() as i64], data_type::INT64, bytes)
    }

    /// A weight of `node` as f32; `None` where it has none.
    pub(super) fn weight(&mut self, node: &Node, role: &str) -> Result<Option<String>> {
        let Some(tensor) = self.graph.weight(node, role) else { return Ok(None) };
        let values = self.graph.f32s(node, role)?;
        let tensor = Tensor::from_f32(tensor.shape().clone(), &values);
        Ok(Some(self.constant(&node.tensor_name(role), &tensor)))
    }

    fn raw(&mut self, wanted: &str, dims: Vec<i64>, data_type: i32, bytes: Vec<u8>) -> String {
        let name = self.fresh(wanted);
        self.proto.initializer.push(TensorProto {
            dims,
            data_type,
            name: name.clone(),
            raw_data: bytes.into(),
            ..Default::default()
        });
        name
    }
}

/// An input or output with a batch that the caller chooses.
fn port(graph: &Graph, id: ValueId) -> ValueInfoProto {
    let value = graph.value(id);
    let batch = DimensionProto { dim_value: None, dim_param: Some("N".into()) };
    let size = |&d: &usize| DimensionProto { dim_value: Some(d as i64), dim_param: None };
    let dim = [batch].into_iter().chain(value.shape.iter().skip(1).map(size)).collect();
    let tensor_type = Some(TensorTypeProto {
        elem_type: if value.dtype == DType::I8 { data_type::INT8 } else { data_type::FLOAT },
        shape: Some(TensorShapeProto { dim }),
    });
    ValueInfoProto { name: value.name.clone(), r#type: Some(TypeProto { tensor_type }) }
}

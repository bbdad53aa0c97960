//! A builder of ONNX models, from the same messages that the import decodes.

use prost::Message;

use crate::onnx::proto::{
    AttributeProto, DimensionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto,
    TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, ValueInfoProto,
};
use crate::onnx::tensors::data_type;

/// A model whose nodes follow one another: the first reads `x`, the output is the last one's.
#[derive(Clone)]
pub(super) struct Net {
    pub(super) model: ModelProto,
}

/// Where an attribute's value goes.
#[derive(Clone)]
pub(super) enum Value<'a> {
    Int(i64),
    Float(f32),
    Text(&'static str),
    Ints(&'a [i64]),
    Floats(&'a [f32]),
    Tensor(TensorProto),
}

impl Net {
    /// A model of `opset` with the float input `x`; `-1` is a size that the caller chooses.
    pub(super) fn new(opset: i64, input: &[i64]) -> Self {
        let graph =
            GraphProto { name: "g".into(), input: vec![value("x", input)], ..Default::default() };
        let set = OperatorSetIdProto { domain: String::new(), version: opset };
        Self {
            model: ModelProto {
                ir_version: 8,
                graph: Some(graph),
                opset_import: vec![set],
                ..Default::default()
            },
        }
    }

    pub(super) fn graph(&mut self) -> &mut GraphProto {
        self.model.graph.as_mut().unwrap()
    }

    /// Adds a constant of floats.
    pub(super) fn floats(mut self, name: &str, dims: &[i64], values: &[f32]) -> Self {
        self.graph().initializer.push(floats(name, dims, values));
        self
    }

    /// Adds a constant of integers.
    pub(super) fn ints(mut self, name: &str, values: &[i64]) -> Self {
        self.graph().initializer.push(TensorProto {
            name: name.into(),
            dims: vec![values.len() as i64],
            data_type: data_type::INT64,
            int64_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    /// Adds a constant of integers of an 8 or 32-bit type.
    pub(super) fn small(
        mut self,
        name: &str,
        data_type: i32,
        dims: &[i64],
        values: &[i32],
    ) -> Self {
        self.graph().initializer.push(TensorProto {
            name: name.into(),
            dims: dims.to_vec(),
            data_type,
            int32_data: values.to_vec(),
            ..Default::default()
        });
        self
    }

    /// Adds a node with one output, named after it, which becomes the graph's.
    pub(super) fn node(
        mut self,
        op: &str,
        inputs: &[&str],
        output: &str,
        attributes: &[(&str, Value<'_>)],
    ) -> Self {
        self.graph().node.push(NodeProto {
            input: inputs.iter().map(ToString::to_string).collect(),
            output: vec![output.into()],
            op_type: op.into(),
            attribute: attributes.iter().map(|(name, value)| attribute(name, value)).collect(),
            ..Default::default()
        });
        self.graph().output = vec![value(output, &[])];
        self
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.model.encode_to_vec()
    }
}

pub(super) fn floats(name: &str, dims: &[i64], values: &[f32]) -> TensorProto {
    TensorProto {
        name: name.into(),
        dims: dims.to_vec(),
        data_type: data_type::FLOAT,
        raw_data: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
        ..Default::default()
    }
}

fn value(name: &str, dims: &[i64]) -> ValueInfoProto {
    let dim = |&d: &i64| DimensionProto {
        dim_value: (d >= 0).then_some(d),
        dim_param: (d < 0).then(|| "N".into()),
    };
    let tensor = TensorTypeProto {
        elem_type: data_type::FLOAT,
        shape: Some(TensorShapeProto { dim: dims.iter().map(dim).collect() }),
    };
    ValueInfoProto { name: name.into(), r#type: Some(TypeProto { tensor_type: Some(tensor) }) }
}

fn attribute(name: &str, value: &Value<'_>) -> AttributeProto {
    let mut attribute = AttributeProto { name: name.into(), ..Default::default() };
    match value.clone() {
        Value::Int(i) => attribute.i = i,
        Value::Float(f) => attribute.f = f,
        Value::Text(text) => attribute.s = text.as_bytes().into(),
        Value::Ints(ints) => attribute.ints = ints.to_vec(),
        Value::Floats(floats) => attribute.floats = floats.to_vec(),
        Value::Tensor(tensor) => attribute.t = Some(tensor),
    }
    attribute
}

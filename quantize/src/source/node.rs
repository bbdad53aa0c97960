//! The statements that compute a node.

use std::fmt::Write as _;
use std::ops::Range;

use hipflask_runtime::compiled::{AvgPoolI8, Isa, PoolShape, conv_shape, int8_output, pool_shape};
use hipflask_runtime::graph::{Node, Op, ValueId};
use hipflask_runtime::quant::QuantParams;
use hipflask_runtime::{DType, Error, ErrorKind, Result};

use super::{Network, text};

/// The text so far.
pub(super) struct Statements<'a> {
    network: &'a Network,
    names: text::Names,
    constants: String,
    steps: String,
    constant_bytes: usize,
    count: usize,
}

impl<'a> Statements<'a> {
    pub(super) fn new(network: &'a Network) -> Self {
        Self {
            network,
            names: text::Names::default(),
            constants: String::new(),
            steps: String::new(),
            constant_bytes: 0,
            count: 0,
        }
    }

    /// Constants, statements, bytes of the constants.
    pub(super) fn finish(self) -> (String, String, usize) {
        (self.constants, self.steps, self.constant_bytes)
    }

    /// Adds what computes a node.
    pub(super) fn node(&mut self, node: &Node) -> Result<()> {
        let graph = &self.network.graph;
        let (x, y) = (graph.value(node.inputs[0]), graph.value(node.output));
        let int8 = x.dtype == DType::I8;
        let image = match x.shape[..] {
            [_, h, w, c] => [h, w, c],
            _ => [1, 1, x.shape.elements()],
        };
        let _ = writeln!(self.steps, "    // {} ({})", text::comment(&node.name), node.op.name());
        match &node.op {
            Op::Flatten | Op::Reshape { .. } | Op::Tokens => {}
            Op::Conv2d { .. } | Op::Linear if int8 => self.convolution(node)?,
            Op::Activation { .. } if int8 => self.table(node)?,
            Op::Add if int8 => self.sum(node)?,
            Op::Mul if int8 => {
                let [a, b, y_params] = self.operands(node)?;
                let output = text::output(int8_output(node, y_params));
                let (a, b) = (text::params(a), text::params(b));
                let new =
                    format!("MulI8::new(Isa::Scalar, {a}, {b}, {:?}, {output})", y_params.scale);
                let name = self.constant("const", node, "MulI8", &new);
                let call = format!("{name}.run(i8s(a), i8s(b), i8s_mut(y))");
                self.call(node.output, &[("a", node.inputs[0]), ("b", node.inputs[1])], &call);
            }
            Op::Concat { axis } if int8 => self.join(node, *axis)?,
            &Op::Slice { axis, start, end } if int8 => {
                let inner: usize = x.shape[axis + 1..].iter().product();
                let (stretch, range) = (x.shape[axis] * inner, start * inner..end * inner);
                self.unary(node, &format!("slice({stretch}, {range:?}, x, y)"));
            }
            Op::ChannelShuffle { groups } if int8 => {
                self.unary(node, &format!("shuffle({}, {groups}, x, y)", image[2]));
            }
            Op::MaxPool2d { kernel, stride, padding } if int8 => {
                let shape = pool_shape(image, y, *kernel, *stride, *padding);
                let shape = text::pool_shape(&shape);
                let call = format!("max_pool_i8(Isa::Scalar, &{shape}, i8s(x), i8s_mut(y))");
                self.unary(node, &call);
            }
            Op::AvgPool2d { kernel, stride, padding, count_include_pad } if int8 => {
                let shape = pool_shape(image, y, *kernel, *stride, *padding);
                self.average(node, shape, *count_include_pad)?;
            }
            Op::GlobalAvgPool if int8 => {
                let [h, w, c] = image;
                self.average(node, PoolShape::global(h, w, c), false)?;
            }
            Op::Pad { padding } if int8 => {
                let fill = params(x.quant)?.zero_point;
                self.unary(
                    node,
                    &format!("pad({image:?}, {padding:?}, {fill}, i8s(x), i8s_mut(y))"),
                );
            }
            Op::PadChannels { before, after } if int8 => {
                let (fill, sizes) = (params(x.quant)?.zero_point, [*before, image[2], *after]);
                self.unary(node, &format!("pad_channels({sizes:?}, {fill}, i8s(x), i8s_mut(y))"));
            }
            Op::Dequantize => {
                let params = text::params(params(x.quant)?);
                let call = format!("dequantize(Isa::Scalar, {params}, i8s(x), f32s_mut(y))");
                self.unary(node, &call);
            }
            Op::Quantize => {
                let params = text::params(params(y.quant)?);
                let call = format!("quantize(Isa::Scalar, {params}, f32s(x), i8s_mut(y))");
                self.unary(node, &call);
            }
            Op::Softmax => {
                let classes = x.shape.last().copied().unwrap_or(1);
                let call = format!("softmax_f32(Isa::Scalar, {classes}, f32s(x), f32s_mut(y))");
                self.unary(node, &call);
            }
            op => {
                let what = format!(
                    "{} of {} has no compiled kernel: load the model file instead",
                    op.name(),
                    x.dtype
                );
                return Err(Error::new(ErrorKind::Unsupported, "operation", what));
            }
        }
        self.count += 1;
        let place = self.network.place(node.output);
        let _ = writeln!(self.steps, "    after({}, &arena[{place:?}]);", self.count);
        Ok(())
    }

    fn convolution(&mut self, node: &Node) -> Result<()> {
        let graph = &self.network.graph;
        let (x, y) = (graph.value(node.inputs[0]), graph.value(node.output));
        let shape = conv_shape(graph, node).ok_or_else(|| refused("is no convolution"))?;
        let weight = graph.weight(node, "weight").ok_or_else(|| refused("has no weight"))?.bytes();
        let (bias, multiplier) = (graph.i32s(node, "bias")?, graph.f32s(node, "multiplier")?);
        if !text::finite(&multiplier) {
            return Err(refused("has a multiplier that is infinite or NaN"));
        }
        let new = format!(
            "Conv {{\n    shape: {},\n    weight: {},\n    bias: &{},\n    multiplier: &{},\n    \
             zero_point: {},\n    output: {},\n}}",
            text::conv_shape(&shape),
            text::bytes(weight),
            text::array(&bias),
            text::array(&multiplier),
            params(x.quant)?.zero_point,
            text::output(int8_output(node, params(y.quant)?)),
        );
        self.constant_bytes += weight.len() + (bias.len() + multiplier.len()) * 4;
        let name = self.constant("static", node, "Conv", &new);
        self.unary(node, &format!("{name}.run(i8s(x), i8s_mut(y))"));
        Ok(())
    }

    fn table(&mut self, node: &Node) -> Result<()> {
        let table = self.network.graph.i8s(node, "table")?;
        if table.len() != 256 {
            return Err(refused("needs a table of 256 entries"));
        }
        self.constant_bytes += table.len();
        let name = self.constant("static", node, "[i8; 256]", &text::array(table));
        if self.shares(node.inputs[0], node.output) {
            let y = self.network.place(node.output);
            let call = format!(
                "    in_place(i8s_mut(&mut arena[{y:?}]), |x, _, y| lut_i8(&{name}, x, y));\n"
            );
            self.steps.push_str(&call);
        } else {
            self.unary(node, &format!("lut_i8(&{name}, i8s(x), i8s_mut(y))"));
        }
        Ok(())
    }

    fn sum(&mut self, node: &Node) -> Result<()> {
        let [a, b, y] = self.operands(node)?;
        let output = text::output(int8_output(node, y));
        let (a, b) = (text::params(a), text::params(b));
        let new = format!("AddI8::scalar({a}, {b}, {:?}, {output})", y.scale);
        let name = self.constant("const", node, "AddI8", &new);
        let [a, b] = [node.inputs[0], node.inputs[1]];
        match [a, b].map(|x| self.shares(x, node.output)) {
            [false, false] => {
                let call = format!("{name}.run(i8s(a), i8s(b), i8s_mut(y))");
                self.call(node.output, &[("a", a), ("b", b)], &call);
            }
            [true, true] => {
                let y = self.network.place(node.output);
                let _ = writeln!(
                    self.steps,
                    "    in_place(i8s_mut(&mut arena[{y:?}]), |x, _, y| {name}.run(x, x, y));"
                );
            }
            [first, _] => {
                let operands = if first { "own, other" } else { "other, own" };
                let call = format!(
                    "in_place(i8s_mut(y), |own, done, y| {{ let other = &i8s(x)[done..][..own.len()]; \
                     {name}.run({operands}, y) }})"
                );
                self.call(node.output, &[("x", if first { b } else { a })], &call);
            }
        }
        Ok(())
    }

    fn join(&mut self, node: &Node, axis: usize) -> Result<()> {
        let graph = &self.network.graph;
        let y = graph.value(node.output);
        let stretch: usize = y.shape[axis..].iter().product();
        let to = params(y.quant)?;
        let mut first = 0;
        for &id in &node.inputs {
            let x = graph.value(id);
            let part: usize = x.shape[axis..].iter().product();
            let (from, to) = (text::params(params(x.quant)?), text::params(to));
            let new = format!("RescaleI8::new(Isa::Scalar, {from}, {to})");
            let name = self.constant("const", node, "RescaleI8", &new);
            let call = format!(
                "copy_strided(({part}, {first}, {stretch}), i8s(x), i8s_mut(y), |x, y| {name}.run(x, y))"
            );
            self.call(node.output, &[("x", id)], &call);
            first += part;
        }
        Ok(())
    }

    fn average(&mut self, node: &Node, shape: PoolShape, count_include_pad: bool) -> Result<()> {
        let graph = &self.network.graph;
        let [x, y] = [node.inputs[0], node.output].map(|id| graph.value(id).quant);
        let (x, y) = (params(x)?, params(y)?);
        let output = int8_output(node, y);
        let pool = AvgPoolI8::new(Isa::Scalar, shape, x, y.scale, count_include_pad, output);
        if !text::finite(pool.multipliers()) {
            return Err(refused("has a multiplier that is infinite or NaN"));
        }
        self.constant_bytes += pool.multipliers().len() * 4;
        let new = format!(
            "AvgPoolI8::scalar({}, {}, &{}, {})",
            text::pool_shape(&shape),
            x.zero_point,
            text::array(pool.multipliers()),
            text::output(output)
        );
        let name = self.constant("static", node, "AvgPoolI8", &new);
        self.unary(node, &format!("{name}.run(i8s(x), i8s_mut(y))"));
        Ok(())
    }

    /// Parameters of both operands and of the result.
    fn operands(&self, node: &Node) -> Result<[QuantParams; 3]> {
        let of = |id: ValueId| params(self.network.graph.value(id).quant);
        Ok([of(node.inputs[0])?, of(node.inputs[1])?, of(node.output)?])
    }

    /// Whether a value lies where another does.
    fn shares(&self, x: ValueId, y: ValueId) -> bool {
        self.network.place(x) == self.network.place(y)
    }

    /// Adds a constant and gives its name.
    fn constant(&mut self, kind: &str, node: &Node, of_type: &str, value: &str) -> String {
        let name = self.names.of(&node.name);
        let _ = writeln!(self.constants, "\n{kind} {name}: {of_type} = {value};");
        name
    }

    /// A call with the bytes `x` of the first input and `y` of the output.
    fn unary(&mut self, node: &Node, call: &str) {
        self.call(node.output, &[("x", node.inputs[0])], call);
    }

    /// A call with the bytes of inputs by name and `y` of the output.
    fn call(&mut self, y: ValueId, inputs: &[(&str, ValueId)], call: &str) {
        let names: Vec<&str> = inputs.iter().map(|(name, _)| *name).collect();
        let places: Vec<&Range<usize>> =
            inputs.iter().map(|(_, id)| self.network.place(*id)).collect();
        let _ = writeln!(
            self.steps,
            "    let (y, [{}]) = split(arena, {:?}, {places:?});\n    {call};",
            names.join(", "),
            self.network.place(y),
        );
    }
}

fn params(quant: Option<QuantParams>) -> Result<QuantParams> {
    quant.ok_or_else(|| refused("has an int8 value without scale"))
}

fn refused(what: &str) -> Error {
    Error::new(ErrorKind::Unsupported, "operation", what)
}

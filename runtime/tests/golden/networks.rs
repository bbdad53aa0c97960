//! The networks of the golden files: random but reproducible weights, shapes and parameters that
//! kernels find hard, scales that use the range of int8 and saturate here and there.

use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op, ValueId};
use hipflask_runtime::kernels::evaluate;
use hipflask_runtime::quant::{QuantParams, multiplier};
use hipflask_runtime::{Shape, Tensor};

/// Each by the name of its file.
pub(crate) fn all() -> [(&'static str, Graph); 8] {
    [
        ("residual", residual()),
        ("depthwise", depthwise()),
        ("mlp", mlp()),
        ("mixed", mixed()),
        ("channels", channels()),
        ("patches", patches()),
        ("text", text()),
        ("weight-only", crate::weight_only::network()),
    ]
}

/// Inputs for a network, most of them in [-1, 1], one in 16 beyond the range of int8; for one that
/// begins with an embedding ids, some of them padding or beyond its vocabulary.
pub(crate) fn samples(graph: &Graph, count: u64) -> Vec<Vec<f32>> {
    if graph.nodes[0].op == Op::Embedding {
        let ids = graph.value(graph.inputs[0]).shape.elements() as u64;
        let id = |noise: &mut Noise| (noise.next() % (VOCABULARY as u64 + 2)) as f32;
        let sample = |seed| (0..ids).scan(Noise(seed), |noise, _| Some(id(noise))).collect();
        return (0..count).map(sample).collect();
    }
    let len = graph.value(graph.inputs[0]).shape.elements();
    let sample = |seed| {
        let mut noise = Noise(seed);
        let mut value = || noise.real() * if noise.next().is_multiple_of(16) { 9.0 } else { 1.0 };
        (0..len).map(|_| value()).collect()
    };
    (0..count).map(sample).collect()
}

/// SplitMix64 (Steele et al. 2014).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In [-1, 1).
    fn real(&mut self) -> f32 {
        (self.next() >> 40) as f32 / 8_388_608.0 - 1.0
    }

    /// In [-127, 127], one in eight at an end of it.
    fn weight(&mut self) -> i8 {
        match self.next() {
            z if z.is_multiple_of(16) => -127,
            z if z % 16 == 1 => 127,
            z => ((z >> 32) as i8).max(-127),
        }
    }
}

const fn q(scale: f32, zero_point: i8) -> QuantParams {
    QuantParams { scale, zero_point }
}

/// A network on its way.
struct Net {
    builder: GraphBuilder,
    noise: Noise,
    /// Parameters of each value.
    params: Vec<QuantParams>,
}

impl Net {
    /// Begins with an input in [-1, 1], quantized.
    fn new(name: &str, input: &[usize], seed: u64) -> (Self, ValueId) {
        let mut builder = GraphBuilder::new(name, Layout::Nhwc);
        let real = builder.input("input", Shape::from(input));
        let params = q(1.0 / 127.0, -1);
        let x = builder.node_as("quantize", Op::Quantize, &[real], [], Some(params)).unwrap();
        (Self { builder, noise: Noise(seed), params: vec![params; 2] }, x)
    }

    fn node(&mut self, name: &str, op: Op, inputs: &[ValueId], params: QuantParams) -> ValueId {
        self.params.push(params);
        self.builder.node_as(name, op, inputs, [], Some(params)).unwrap()
    }

    /// A layer that gives about 40 steps as standard deviation, every fifth channel thrice that.
    fn layer(
        &mut self,
        name: &str,
        op: Op,
        x: ValueId,
        shape: &[usize],
        params: QuantParams,
    ) -> ValueId {
        let (from, channels) = (self.params[x.0], shape[0]);
        let taps = shape[1..].iter().product::<usize>();
        let weight: Vec<i8> = (0..channels * taps).map(|_| self.noise.weight()).collect();
        // Deviations of inputs and of uniform weights: 50 and 73 steps.
        let usual = 40.0 / (50.0 * 73.0 * (taps as f32).sqrt());
        let scale = |c: usize| usual * if c % 5 == 4 { 3.0 } else { 1.0 };
        let scale = |c: usize| scale(c) * (1.0 + 0.3 * self.noise.real());
        let scale: Vec<f32> =
            (0..channels).map(scale).map(|m| m * params.scale / from.scale).collect();
        let bias: Vec<i32> = weight
            .chunks(taps)
            .zip(&scale)
            .map(|(row, scale)| {
                let sum: i32 = row.iter().map(|&w| i32::from(w)).sum();
                let bias = 20.0 * self.noise.real() * params.scale / (from.scale * scale);
                bias as i32 - i32::from(from.zero_point) * sum
            })
            .collect();
        let multiplier: Vec<f32> =
            scale.iter().map(|&scale| multiplier(from.scale, scale, params.scale)).collect();
        let weights = [
            ("weight", Tensor::from_i8(Shape::from(shape), &weight)),
            ("bias", Tensor::from_i32([channels], &bias)),
            ("scale", Tensor::from_f32([channels], &scale)),
            ("multiplier", Tensor::from_f32([channels], &multiplier)),
        ];
        self.params.push(params);
        self.builder.node_as(name, op, &[x], weights, Some(params)).unwrap()
    }

    /// An activation by its table.
    fn table(
        &mut self,
        name: &str,
        function: Activation,
        x: ValueId,
        params: QuantParams,
    ) -> ValueId {
        let from = self.params[x.0];
        let entry = |q: i8| params.quantize(evaluate(function, from.dequantize(q)));
        let table: Vec<i8> = (i8::MIN..=i8::MAX).map(entry).collect();
        let weights = [("table", Tensor::from_i8([256], &table))];
        self.params.push(params);
        let op = Op::Activation { function };
        self.builder.node_as(name, op, &[x], weights, Some(params)).unwrap()
    }

    /// An operation in f32.
    fn real(
        &mut self,
        name: &str,
        op: Op,
        inputs: &[ValueId],
        weights: &[(&'static str, &[usize])],
    ) -> ValueId {
        let mut tensor = |shape: &[usize]| {
            let values: Vec<f32> =
                (0..shape.iter().product()).map(|_| self.noise.real() * 1.5).collect();
            Tensor::from_f32(Shape::from(shape), &values)
        };
        let weights: Vec<_> = weights.iter().map(|&(role, shape)| (role, tensor(shape))).collect();
        self.params.push(q(1.0, 0));
        self.builder.node(name, op, inputs, weights).unwrap()
    }

    /// An int8 linear layer of real tokens or a real vector, and its result as real numbers.
    fn linear(&mut self, name: &str, x: ValueId, [o, i]: [usize; 2]) -> ValueId {
        let x = self.node(&format!("{name}.quantize"), Op::Quantize, &[x], q(0.02, 5));
        let x = self.layer(name, Op::Linear, x, &[o, i], q(0.03, -9));
        self.real(&format!("{name}.real"), Op::Dequantize, &[x], &[])
    }

    /// A pre-norm layer of a transformer; `ids` say what is padding.
    fn encoder(&mut self, name: &str, x: ValueId, ids: Option<ValueId>, d: usize) -> ValueId {
        let norm = Op::LayerNorm { eps: 1e-5 };
        let at = |part: &str| format!("{name}.{part}");
        let weights: [(_, &[usize]); 2] = [("weight", &[d]), ("bias", &[d])];
        let y = self.real(&at("norm1"), norm.clone(), &[x], &weights);
        let qkv = self.linear(&at("qkv"), y, [3 * d, d]);
        let inputs: Vec<ValueId> = [qkv].into_iter().chain(ids).collect();
        let y = self.real(&at("attention"), Op::Attention { heads: 3 }, &inputs, &[]);
        let y = self.linear(&at("out"), y, [d, d]);
        let x = self.real(&at("sum1"), Op::Add, &[x, y], &[]);
        let y = self.real(&at("norm2"), norm, &[x], &weights);
        let y = self.node(&at("quantize"), Op::Quantize, &[y], q(0.02, 5));
        let y = self.layer(&at("fc1"), Op::Linear, y, &[2 * d, d], q(0.03, -9));
        let y = self.table(&at("gelu"), Activation::Gelu, y, q(0.016, -110));
        let y = self.layer(&at("fc2"), Op::Linear, y, &[d, 2 * d], q(0.03, -9));
        let y = self.real(&at("real"), Op::Dequantize, &[y], &[]);
        self.real(&at("sum2"), Op::Add, &[x, y], &[])
    }

    fn relu(&mut self) {
        self.builder.fuse(Some(Activation::Relu));
    }

    fn relu6(&mut self) {
        self.builder.fuse(Some(Activation::Relu6));
    }

    fn finish(mut self, x: ValueId, softmax: bool) -> Graph {
        let mut y = self.builder.node("dequantize", Op::Dequantize, &[x], []).unwrap();
        if softmax {
            y = self.builder.node("softmax", Op::Softmax, &[y], []).unwrap();
        }
        self.builder.finish(&[y]).unwrap()
    }
}

fn conv(stride: usize, padding: [usize; 4], groups: usize) -> Op {
    Op::Conv2d { stride: [stride; 2], padding, dilation: [1, 1], groups }
}

/// Two residual blocks, the second with a shortcut of its own.
fn residual() -> Graph {
    let (mut net, x) = Net::new("residual", &[1, 12, 10, 3], 1);
    let (a, b) = (q(0.04, -128), q(0.05, 7));
    let x = net.layer("stem", conv(1, [1; 4], 1), x, &[16, 3, 3, 3], a);
    net.relu();
    let y = net.layer("block1.conv1", conv(1, [1; 4], 1), x, &[17, 3, 3, 16], a);
    net.relu();
    let y = net.layer("block1.conv2", conv(1, [1; 4], 1), y, &[16, 3, 3, 17], b);
    let x = net.node("block1.add", Op::Add, &[x, y], q(0.06, -128));
    net.relu();
    let y = net.layer("block2.conv1", conv(2, [1, 1, 0, 0], 1), x, &[24, 3, 3, 16], a);
    net.relu();
    let y = net.layer("block2.conv2", conv(1, [1; 4], 1), y, &[24, 3, 3, 24], b);
    let x = net.layer("block2.shortcut", conv(2, [0; 4], 1), x, &[24, 1, 1, 16], q(0.03, -11));
    let x = net.node("block2.add", Op::Add, &[y, x], q(0.05, -3));
    let x = net.node("pool", Op::GlobalAvgPool, &[x], q(0.02, -2));
    let x = net.node("flatten", Op::Flatten, &[x], q(0.02, -2));
    let x = net.layer("fc", Op::Linear, x, &[10, 24], q(0.1, 4));
    net.finish(x, false)
}

/// Depthwise kernels of 3×3 and 5×5, with strides, dilation, a multiplier and odd channels.
fn depthwise() -> Graph {
    let (mut net, x) = Net::new("depthwise", &[1, 23, 19, 1], 2);
    let (six, y) = (q(6.0 / 255.0, -128), q(0.05, 9));
    let x = net.layer("stem", conv(2, [0, 1, 1, 0], 1), x, &[8, 3, 3, 1], six);
    net.relu6();
    let x = net.layer("dw1", conv(1, [1; 4], 8), x, &[8, 3, 3, 1], six);
    net.relu6();
    let x = net.layer("pw1", conv(1, [0; 4], 1), x, &[17, 1, 1, 8], y);
    let x = net.layer("dw2", conv(2, [2, 2, 1, 2], 17), x, &[17, 5, 5, 1], six);
    net.relu6();
    let x = net.layer("pw2", conv(1, [0; 4], 1), x, &[65, 1, 1, 17], q(0.03, 127));
    let op = Op::Conv2d { stride: [1, 1], padding: [2, 2, 2, 2], dilation: [2, 2], groups: 65 };
    let x = net.layer("dw3", op, x, &[65, 3, 3, 1], six);
    net.relu6();
    let x = net.layer("pw3", conv(1, [0; 4], 1), x, &[16, 1, 1, 65], y);
    let x = net.layer("dw4", conv(1, [1, 0, 0, 1], 16), x, &[48, 2, 2, 1], y);
    let x = net.layer("dw5", conv(1, [1; 4], 48), x, &[48, 3, 3, 1], six);
    net.relu6();
    let x = net.node("pool", Op::GlobalAvgPool, &[x], q(0.01, -128));
    let x = net.node("flatten", Op::Flatten, &[x], q(0.01, -128));
    let x = net.layer("fc", Op::Linear, x, &[7, 48], q(0.1, -5));
    net.finish(x, true)
}

/// Linear layers whose widths no vector divides, with zero points at both ends.
fn mlp() -> Graph {
    let (mut net, x) = Net::new("mlp", &[1, 131], 3);
    let x = net.layer("fc1", Op::Linear, x, &[65, 131], q(0.03, -128));
    net.relu();
    let x = net.layer("fc2", Op::Linear, x, &[33, 65], q(0.05, 127));
    let x = net.layer("fc3", Op::Linear, x, &[7, 33], q(0.02, 0));
    net.relu();
    let x = net.layer("fc4", Op::Linear, x, &[3, 7], q(0.04, -40));
    net.finish(x, false)
}

/// Squeeze-excite, a split whose halves are joined and shuffled, channels of zeros.
fn channels() -> Graph {
    let (mut net, x) = Net::new("channels", &[1, 11, 9, 3], 5);
    let (a, b) = (q(0.03, -7), q(0.045, 21));
    let x = net.layer("stem", conv(2, [1; 4], 1), x, &[38, 3, 3, 3], a);
    let mean = net.node("squeeze", Op::GlobalAvgPool, &[x], q(0.004, -3));
    let y = net.layer("reduce", conv(1, [0; 4], 1), mean, &[10, 1, 1, 38], b);
    net.relu();
    let y = net.layer("expand", conv(1, [0; 4], 1), y, &[38, 1, 1, 10], b);
    let gate = net.table("gate", Activation::HardSigmoid, y, q(1.0 / 256.0, -128));
    let x = net.node("excite", Op::Mul, &[x, gate], q(0.015, 5));
    let left = net.node("left", Op::Slice { axis: 3, start: 0, end: 19 }, &[x], q(0.015, 5));
    let right = net.node("right", Op::Slice { axis: 3, start: 19, end: 38 }, &[x], q(0.015, 5));
    let y = net.layer("branch", conv(1, [0; 4], 1), right, &[19, 1, 1, 19], q(0.02, -11));
    let square = net.node("square", Op::Mul, &[y, right], q(0.03, -1));
    let x = net.node("concat", Op::Concat { axis: 3 }, &[left, square], q(0.02, 0));
    let x = net.node("shuffle", Op::ChannelShuffle { groups: 2 }, &[x], q(0.02, 0));
    let rows = net.node("rows", Op::Slice { axis: 1, start: 1, end: 6 }, &[x], q(0.02, 0));
    let x = net.node("zeros", Op::PadChannels { before: 3, after: 2 }, &[rows], q(0.02, 0));
    let x = net.layer("last", conv(1, [1; 4], 1), x, &[7, 3, 3, 43], b);
    net.finish(x, false)
}

/// Pads, pools, joins, tables, groups: what the others leave out.
fn mixed() -> Graph {
    let (mut net, x) = Net::new("mixed", &[1, 10, 9, 3], 4);
    let (a, b) = (q(0.03, -7), q(0.045, 21));
    let x = net.node("pad", Op::Pad { padding: [1, 2, 0, 1] }, &[x], q(1.0 / 127.0, -1));
    let x = net.layer("conv", conv(1, [0; 4], 1), x, &[12, 3, 3, 3], a);
    let swish = net.table("hard-swish", Activation::HardSwish, x, q(0.02, -100));
    let op = Op::Conv2d { stride: [1, 1], padding: [2, 0, 2, 0], dilation: [2, 1], groups: 3 };
    let left = net.layer("grouped", op, swish, &[21, 3, 1, 4], b);
    let silu = net.table("silu", Activation::Silu, left, q(0.03, -90));
    let op = Op::MaxPool2d { kernel: [3, 2], stride: [2, 2], padding: [1, 0, 1, 1] };
    let left = net.node("max-pool", op, &[silu], q(0.03, -90));
    let tanh = net.table("tanh", Activation::Tanh, x, q(1.0 / 128.0, 0));
    let op = Op::AvgPool2d {
        kernel: [3, 2],
        stride: [2, 2],
        padding: [1, 0, 1, 1],
        count_include_pad: true,
    };
    let right = net.node("avg-pool-padded", op, &[tanh], q(0.006, 3));
    let sigmoid = net.table("sigmoid", Activation::Sigmoid, right, q(1.0 / 256.0, -128));
    let x = net.node("concat", Op::Concat { axis: 3 }, &[left, right, sigmoid], q(0.03, -90));
    let op = Op::AvgPool2d {
        kernel: [2, 3],
        stride: [2, 1],
        padding: [0, 1, 1, 1],
        count_include_pad: false,
    };
    let x = net.node("avg-pool", op, &[x], q(0.02, -80));
    let gate = net.table("hard-sigmoid", Activation::HardSigmoid, x, q(1.0 / 256.0, -128));
    let x = net.node("add", Op::Add, &[x, gate], q(0.015, -70));
    net.relu6();
    let x = net.layer("pointwise", conv(1, [0; 4], 1), x, &[5, 1, 1, 45], b);
    let shape = net.builder.shape(x).to_vec();
    let op = Op::Reshape { shape: vec![1, shape[1..].iter().product()] };
    let flat = shape[1..].iter().product();
    let x = net.node("reshape", op, &[x], b);
    let x = net.layer("fc", Op::Linear, x, &[11, flat], q(0.09, 0));
    net.finish(x, true)
}

/// A small vision transformer: patches by a convolution, two layers, the mean of the tokens.
fn patches() -> Graph {
    let (mut net, x) = Net::new("patches", &[1, 12, 9, 2], 5);
    let a = q(0.03, -7);
    let x = net.layer("patch", conv(3, [0; 4], 1), x, &[15, 3, 3, 2], a);
    let x = net.node("tokens", Op::Tokens, &[x], a);
    let x = net.real("real", Op::Dequantize, &[x], &[]);
    let x = net.real("position", Op::AddPosition, &[x], &[("weight", &[1, 12, 15])]);
    let x = net.encoder("layers.0", x, None, 15);
    let x = net.encoder("layers.1", x, None, 15);
    let x =
        net.real("norm", Op::LayerNorm { eps: 1e-6 }, &[x], &[("weight", &[15]), ("bias", &[15])]);
    let gelu = Op::Activation { function: Activation::Gelu };
    let x = net.real("gelu", gelu, &[x], &[]);
    let x = net.real("mean", Op::MeanTokens, &[x], &[]);
    let x = net.linear("fc", x, [7, 15]);
    net.builder.finish(&[x]).unwrap()
}

/// Rows of the embedding in `text`.
const VOCABULARY: usize = 11;

/// A small text encoder, whose ids are padding here and there.
fn text() -> Graph {
    let mut builder = GraphBuilder::new("text", Layout::Nhwc);
    let ids = builder.input("ids", [1, 19]);
    let mut net = Net { builder, noise: Noise(6), params: vec![q(1.0, 0)] };
    let x = net.real("embedding", Op::Embedding, &[ids], &[("weight", &[VOCABULARY, 12])]);
    let x = net.real("position", Op::AddPosition, &[x], &[("weight", &[1, 19, 12])]);
    let x = net.encoder("layers.0", x, Some(ids), 12);
    let x = net.real("mean", Op::MeanTokens, &[x, ids], &[]);
    let x = net.linear("fc", x, [5, 12]);
    net.builder.finish(&[x]).unwrap()
}

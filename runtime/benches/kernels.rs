//! Layers of the MLPerf Tiny and MobileNetV2 networks, kernel by kernel, on each instruction set.
//!
//! `cargo bench -p hipflask-runtime --bench kernels`; divan prints products a second beside the
//! times, so that instruction sets and layers can be compared.

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use hipflask_runtime::groups::Groups;
use hipflask_runtime::kernels::{
    AddI8, ConvF32, ConvI8, ConvShape, Isa, WeightOnlyLinear, quantize,
};
use hipflask_runtime::quant::{Output, QuantParams};

fn main() {
    divan::main();
}

/// A layer to time; `Display` names it in the table.
#[derive(Clone, Copy)]
struct Layer {
    isa: Isa,
    name: &'static str,
    shape: ConvShape,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:<26} {}", self.name, self.isa)
    }
}

/// A `kernel` × `kernel` convolution of a square or flat image, padded to keep its size.
fn conv(
    [h, w]: [usize; 2],
    [in_c, out_c]: [usize; 2],
    kernel: usize,
    stride: usize,
    groups: usize,
) -> ConvShape {
    ConvShape {
        in_h: h,
        in_w: w,
        in_c,
        out_h: h.div_ceil(stride),
        out_w: w.div_ceil(stride),
        out_c,
        kernel: [kernel; 2],
        stride: [stride; 2],
        padding: [kernel / 2; 2],
        dilation: [1, 1],
        groups,
    }
}

fn layers() -> impl Iterator<Item = Layer> {
    let shapes = [
        ("first 3x3 3-16 @32", conv([32, 32], [3, 16], 3, 1, 1)),
        ("conv 3x3 16-16 @32", conv([32, 32], [16, 16], 3, 1, 1)),
        ("conv 3x3 64-64 @8", conv([8, 8], [64, 64], 3, 1, 1)),
        ("pointwise 64-64 @25x5", conv([25, 5], [64, 64], 1, 1, 1)),
        ("pointwise 8-16 @48", conv([48, 48], [8, 16], 1, 1, 1)),
        ("pointwise 160-960 @7", conv([7, 7], [160, 960], 1, 1, 1)),
        ("pw 16-96 @112", conv([112, 112], [16, 96], 1, 1, 1)),
        ("pw 32-16 @112", conv([112, 112], [32, 16], 1, 1, 1)),
        ("pw 96-24 @56", conv([56, 56], [96, 24], 1, 1, 1)),
        ("pw 24-144 @56", conv([56, 56], [24, 144], 1, 1, 1)),
        ("pw 144-24 @56", conv([56, 56], [144, 24], 1, 1, 1)),
        ("pw 32-192 @28", conv([28, 28], [32, 192], 1, 1, 1)),
        ("pw 192-32 @28", conv([28, 28], [192, 32], 1, 1, 1)),
        ("pw 64-384 @14", conv([14, 14], [64, 384], 1, 1, 1)),
        ("pw 384-64 @14", conv([14, 14], [384, 64], 1, 1, 1)),
        ("pw 576-96 @14", conv([14, 14], [576, 96], 1, 1, 1)),
        ("pw 960-160 @7", conv([7, 7], [960, 160], 1, 1, 1)),
        ("pw 320-1280 @7", conv([7, 7], [320, 1280], 1, 1, 1)),
        ("depthwise 3x3 64 @25x5", conv([25, 5], [64, 64], 3, 1, 64)),
        ("depthwise 3x3 8 @48", conv([48, 48], [8, 8], 3, 1, 8)),
        ("depthwise 3x3/2 96 @56", conv([56, 56], [96, 96], 3, 2, 96)),
        ("linear 640-128", ConvShape::linear(640, 128)),
        ("linear 1280-1000", ConvShape::linear(1280, 1000)),
    ];
    let all = |(name, shape)| Isa::available().map(move |isa| Layer { isa, name, shape });
    shapes.into_iter().flat_map(all)
}

/// Multiply-accumulate operations of a layer.
fn macs(shape: &ConvShape) -> ItemsCount {
    ItemsCount::new(shape.out_h * shape.out_w * shape.weight_len())
}

/// The part of `memory` that begins at a cache line, as the session's arena does.
fn aligned(memory: &mut [u8]) -> &mut [u8] {
    let start = memory.as_ptr().align_offset(64);
    &mut memory[start..]
}

#[divan::bench(args = layers())]
fn int8(bencher: Bencher<'_, '_>, Layer { isa, shape, .. }: Layer) {
    let weight: Vec<i8> = (0..shape.weight_len()).map(|i| (i * 37 % 255) as i8).collect();
    let x: Vec<i8> = (0..shape.input_len()).map(|i| (i * 11 % 256) as i8).collect();
    let (bias, multiplier) = (vec![7; shape.out_c], vec![1e-3; shape.out_c]);
    let output = Output { zero_point: -128, lo: -128, hi: 127 };
    let kernel = ConvI8::new(isa, shape, &weight, &bias, &multiplier, -128, output);
    let mut memory = vec![0; kernel.scratch_len() + 64];
    let mut y = vec![0; shape.output_len()];
    let scratch = aligned(&mut memory);
    bencher
        .counter(macs(&shape))
        .bench_local(|| kernel.run(black_box(&x), black_box(&mut y), scratch));
}

#[divan::bench(args = layers())]
fn float(bencher: Bencher<'_, '_>, Layer { isa, shape, .. }: Layer) {
    let weight: Vec<f32> = (0..shape.weight_len()).map(|i| (i % 17) as f32 - 8.0).collect();
    let x: Vec<f32> = (0..shape.input_len()).map(|i| (i % 13) as f32 - 6.0).collect();
    let kernel = ConvF32::new(isa, shape, &weight, &vec![0.5; shape.out_c], (0.0, f32::INFINITY));
    let mut memory = vec![0; kernel.scratch_len() + 64];
    let mut y = vec![0.0; shape.output_len()];
    let scratch = aligned(&mut memory);
    bencher
        .counter(macs(&shape))
        .bench_local(|| kernel.run(black_box(&x), black_box(&mut y), scratch));
}

/// A linear layer over tokens with weights in groups.
#[derive(Clone, Copy)]
struct Grouped {
    isa: Isa,
    bits: u8,
    /// Tokens, inputs, outputs.
    shape: [usize; 3],
}

impl std::fmt::Display for Grouped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [tokens, k, n] = self.shape;
        write!(f, "{:<26} {}", format!("w{} {k}-{n} @{tokens}", self.bits), self.isa)
    }
}

fn grouped() -> impl Iterator<Item = Grouped> {
    let shapes = [[49, 64, 192], [49, 256, 64], [16, 192, 576], [1, 640, 128], [1, 1280, 1000]];
    let bits = |shape| [4, 8].map(|bits| (bits, shape));
    let all = |(bits, shape)| Isa::available().map(move |isa| Grouped { isa, bits, shape });
    shapes.into_iter().flat_map(bits).flat_map(all)
}

#[divan::bench(args = grouped())]
fn weight_only(bencher: Bencher<'_, '_>, Grouped { isa, bits, shape }: Grouped) {
    let [tokens, k, n] = shape;
    let groups = Groups { bits, size: 32 };
    let bytes: Vec<u8> =
        (0..n * groups.row_bytes(k).unwrap_or(0)).map(|i| (i * 37 % 256) as u8).collect();
    let scales = vec![0.01; n * groups.count(k)];
    let weights = (&bytes[..], &scales[..]);
    let range = (0.0, f32::INFINITY);
    let kernel = WeightOnlyLinear::new(isa, groups, (tokens, k), weights, &vec![0.5; n], range);
    let x: Vec<f32> = (0..tokens * k).map(|i| (i % 13) as f32 - 6.0).collect();
    let (mut y, mut scratch) = (vec![0.0; tokens * n], vec![0.0; kernel.scratch_len()]);
    bencher
        .counter(ItemsCount::new(tokens * k * n))
        .bench_local(|| kernel.run(black_box(&x), black_box(&mut y), &mut scratch));
}

/// The same layers in f32.
#[divan::bench(args = grouped().filter(|layer| layer.bits == 8))]
fn same_in_float(bencher: Bencher<'_, '_>, Grouped { isa, shape: [tokens, k, n], .. }: Grouped) {
    let shape = ConvShape { in_h: tokens, out_h: tokens, ..ConvShape::linear(k, n) };
    let weight: Vec<f32> = (0..n * k).map(|i| (i % 17) as f32 - 8.0).collect();
    let x: Vec<f32> = (0..tokens * k).map(|i| (i % 13) as f32 - 6.0).collect();
    let kernel = ConvF32::new(isa, shape, &weight, &vec![0.5; n], (0.0, f32::INFINITY));
    let mut memory = vec![0; kernel.scratch_len() + 64];
    let mut y = vec![0.0; tokens * n];
    let scratch = aligned(&mut memory);
    bencher
        .counter(ItemsCount::new(tokens * k * n))
        .bench_local(|| kernel.run(black_box(&x), black_box(&mut y), scratch));
}

/// Values of an activation of ResNet-8.
const ELEMENTS: usize = 32 * 32 * 16;

#[divan::bench(args = Isa::available())]
fn add_int8(bencher: Bencher<'_, '_>, isa: Isa) {
    let a = QuantParams { scale: 0.05, zero_point: -3 };
    let b = QuantParams { scale: 0.03, zero_point: -128 };
    let add = AddI8::new(isa, a, b, 0.06, Output { zero_point: -128, lo: -128, hi: 127 });
    let x: Vec<i8> = (0..ELEMENTS).map(|i| (i * 11 % 256) as i8).collect();
    let mut y = vec![0; ELEMENTS];
    bencher
        .counter(ItemsCount::new(ELEMENTS))
        .bench_local(|| add.run(black_box(&x), black_box(&x), black_box(&mut y)));
}

#[divan::bench(args = Isa::available())]
fn quantize_input(bencher: Bencher<'_, '_>, isa: Isa) {
    let params = QuantParams { scale: 0.05, zero_point: -3 };
    let x: Vec<f32> = (0..ELEMENTS).map(|i| (i % 100) as f32 * 0.1 - 5.0).collect();
    let mut y = vec![0; ELEMENTS];
    bencher
        .counter(ItemsCount::new(ELEMENTS))
        .bench_local(|| quantize(isa, params, black_box(&x), black_box(&mut y)));
}

//! Sizes by hand and as published, names, reproducibility, training.
#![expect(clippy::unwrap_used, reason = "tests")]

mod budget;
mod layers;
mod torchvision;
mod transformer;

use candle_core::{Device, Tensor};
use hipflask_runtime::{Model, Options, Session};

use super::*;
use crate::interpreter::{Mode, Network};
use crate::loss::{CrossEntropy, DistillationLoss, LossInput};
use crate::nn::gradcheck::{assert_close, random, values};
use crate::optim::{Optimizer, OptimizerSpec};

const DIGITS: [usize; 3] = [1, 8, 8];
const MNIST: [usize; 3] = [1, 28, 28];
const CIFAR: [usize; 3] = [3, 32, 32];

fn named(name: &str) -> NetworkSpec {
    NetworkSpec { network: Some(name.into()), ..NetworkSpec::default() }
}

fn layered(lines: &[&str]) -> NetworkSpec {
    let layers = Some(lines.iter().map(ToString::to_string).collect());
    NetworkSpec { layers, ..NetworkSpec::default() }
}

/// Every kind of layer.
fn all_layers() -> NetworkSpec {
    layered(&[
        "conv 8 3x3 no-bias",
        "bn",
        "relu",
        "save",
        "depthwise 3x3",
        "bn",
        "relu6",
        "pointwise 8 no-bias",
        "bn",
        "add",
        "hard-swish",
        "squeeze-excite 3",
        "shuffle 4",
        "save",
        "global-avg-pool",
        "mul",
        "conv 8 2x3 pad 1x1 groups 2 dilation 1x2",
        "max-pool 2 pad same stride 1",
        "avg-pool 3x3 stride 2 pad 1",
        "conv 12 2",
        "sigmoid",
        "bn",
        "flatten",
        "tanh",
        "linear 24 no-bias",
        "bn",
        "save",
        "silu",
        "linear 24",
        "add",
        "hard-sigmoid",
    ])
}

/// Networks that are too deep to be learnt by heart in a moment, at a small width.
fn deep() -> Vec<NetworkSpec> {
    let sized = |name: &str, width| NetworkSpec { width: Some(width), ..named(name) };
    vec![
        NetworkSpec { depth: Some(2), ..sized("autoencoder", 24) },
        sized("resnet32x4", 1),
        sized("wrn16-2", 3),
        sized("wrn10-1", 4),
        sized("vgg8", 3),
        sized("vgg13", 2),
        sized("mobilenet-v1", 2),
        sized("mobilenet-v2", 3),
        sized("mobilenet-v3-small", 2),
        sized("shufflenet-v2", 9),
        NetworkSpec { depth: Some(3), ..sized("tcn", 6) },
        sized("tc-resnet8", 3),
        NetworkSpec { depth: Some(1), ..sized("vit-tiny", 12) },
    ]
}

/// Names at a small width, and layers.
fn small() -> Vec<NetworkSpec> {
    let sized = |name, width| NetworkSpec { width: Some(width), ..named(name) };
    let mlp = NetworkSpec { hidden: Some(vec![24, 16]), ..named("mlp") };
    let deep = |name, width, depth| NetworkSpec { depth: Some(depth), ..sized(name, width) };
    vec![
        mlp,
        sized("lenet", 3),
        sized("resnet8", 4),
        deep("resnet", 5, 14),
        sized("resnet8x4", 3),
        sized("ds-cnn", 8),
        all_layers(),
    ]
}

/// All networks at a small width with running statistics that are not those of the beginning, by
/// what they are.
pub(crate) fn trained_a_little() -> Vec<(String, Graph)> {
    let (x, _) = batch(DIGITS);
    let images = small().into_iter().chain(deep()).map(|spec| {
        let network = Network::new(&spec.build(&DIGITS, 10, 1).unwrap(), &Device::Cpu).unwrap();
        network.forward(&x, Mode::Train).unwrap();
        (spec.describe(), network.to_graph().unwrap())
    });
    let text = NetworkSpec { width: Some(12), vocabulary: Some(30), ..named("text-encoder") };
    let graph = text.build(&[9], 3, 1).unwrap();
    images.chain([(text.describe(), graph)]).collect()
}

fn shape(graph: &Graph, node: &str) -> Vec<usize> {
    let node = graph.nodes.iter().find(|n| n.name == node).unwrap();
    graph.value(node.output).shape.to_vec()
}

#[test]
fn parameters_are_those_counted_by_hand_and_published() {
    let count =
        |spec: &NetworkSpec, image: [usize; 3]| spec.build(&image, 10, 1).unwrap().parameters();
    let mlp = |hidden: &[usize]| NetworkSpec { hidden: Some(hidden.into()), ..named("mlp") };
    assert_eq!(count(&named("mlp"), MNIST), 784 * 128 + 128 + 128 * 10 + 10);
    assert_eq!(count(&named("mlp"), MNIST), 101_770);
    assert_eq!(count(&mlp(&[64]), MNIST), 50_890);
    assert_eq!(count(&mlp(&[]), MNIST), 7_850);

    // LeNet-5 with 400 flattened values: 61,706 on MNIST, and 62,006 on CIFAR-10, the network of
    // PyTorch's tutorial "Training a classifier".
    let linear = (400 * 120 + 120) + (120 * 84 + 84) + (84 * 10 + 10);
    assert_eq!(count(&named("lenet"), MNIST), (25 * 6 + 6) + (6 * 25 * 16 + 16) + linear);
    assert_eq!(count(&named("lenet"), MNIST), 61_706);
    assert_eq!(count(&named("lenet"), CIFAR), 62_006);

    // MLPerf Tiny's reference (Keras) has 78,666, of which 480 are running statistics and 336 are
    // biases before a batch norm, which we leave out; our two projections have a batch norm:
    // 78,666 - 480 - 336 + 2 · (32 + 64) = 78,042.
    let layer1 = 2 * (16 * 16 * 9 + 32);
    let layer2 = (16 * 32 * 9 + 64) + (32 * 32 * 9 + 64) + (16 * 32 + 64);
    let layer3 = (32 * 64 * 9 + 128) + (64 * 64 * 9 + 128) + (32 * 64 + 128);
    let by_hand = (3 * 16 * 9 + 32) + layer1 + layer2 + layer3 + 650;
    assert_eq!((by_hand, count(&named("resnet8"), CIFAR)), (78_042, 78_042));

    // README of akamaster/pytorch_resnet_cifar10, with the parameters that its script counts.
    let published = [
        ("resnet20", 269_722),
        ("resnet32", 464_154),
        ("resnet44", 658_586),
        ("resnet56", 853_018),
        ("resnet110", 1_727_962),
    ];
    for (name, parameters) in published {
        assert_eq!(count(&named(name), CIFAR), parameters, "{name}");
    }
    // README of HobbitLong/RepDistiller: 1.23 and 7.43 million with 100 classes, 90 · 257 more.
    assert_eq!(count(&named("resnet8x4"), CIFAR), 1_233_540 - 90 * 257);
    assert_eq!(count(&named("resnet32x4"), CIFAR), 7_433_860 - 90 * 257);

    // Zagoruyko & Komodakis 2016 and Tian et al. 2020 say 0.70, 2.26 and 36.5 million for CIFAR-100,
    // RepDistiller 3.97 and 9.46; that is 90 classes more.
    let hundred = |name: &str| named(name).build(&CIFAR, 100, 1).unwrap().parameters();
    assert_eq!(hundred("wrn16-2"), 703_284);
    assert_eq!(hundred("wrn40-2"), 2_255_156);
    let (wide, _) = named("wrn28-10").plan(&CIFAR, 100).unwrap();
    assert_eq!(wide.parameters(), 36_536_884);
    assert_eq!(hundred("vgg8"), 3_965_028);
    assert_eq!(hundred("vgg13"), 9_462_180);

    // torchvision's counts for 1000 classes, whose last layers have 1280, 1024 and 1024 inputs.
    let thousand = |name: &str| named(name).build(&CIFAR, 1000, 1).unwrap().parameters();
    assert_eq!(thousand("mobilenet-v2"), 3_504_872);
    assert_eq!(thousand("mobilenet-v3-small"), 2_542_856);
    assert_eq!(thousand("shufflenet-v2"), 2_278_604);
    // Half of it: Ma et al. 2018 say 1.4 million, torchvision 1,366,792.
    let half = NetworkSpec { width: Some(48), ..named("shufflenet-v2") };
    assert_eq!(half.build(&CIFAR, 1000, 1).unwrap().parameters(), 1_366_792);
    // Howard et al. 2017: 4.2 million, of which 1,025,000 are the last layer's.
    assert_eq!(thousand("mobilenet-v1"), 4_231_976);
    // Choi et al. 2019: 66 thousand for 40 coefficients in 12 classes.
    let keywords = named("tc-resnet8").build(&[1, 98, 40], 12, 1).unwrap();
    assert_eq!(keywords.parameters(), 65_180);

    // Patches of 4×4 pixels, 49 positions, four layers of 12 d² + 13 d, a norm, a classifier.
    let layer = 12 * 64 * 64 + 13 * 64;
    let by_hand = (16 * 64 + 64) + 49 * 64 + 4 * layer + 2 * 64 + (64 * 10 + 10);
    assert_eq!(count(&named("vit-tiny"), MNIST), by_hand);
    let text = NetworkSpec { vocabulary: Some(257), ..named("text-encoder") };
    let by_hand = 257 * 64 + 30 * 64 + 2 * layer + 2 * 64 + (64 * 3 + 3);
    assert_eq!(text.build(&[30], 3, 1).unwrap().parameters(), by_hand);

    let deep = NetworkSpec { depth: Some(56), ..named("resnet") };
    assert_eq!(count(&deep, CIFAR), 853_018);
    assert_eq!(count(&named("resnet"), CIFAR), 269_722);

    // MLPerf Tiny's keyword spotter has 24,908 with a first window of 10×4 and 12 classes. Without
    // its 1,152 running statistics and 576 biases before a batch norm, with 3×3 and 10 classes:
    // 24,908 - 1,152 - 576 - 64 · (40 - 9) - 65 · 2 = 21,066.
    let block = (64 * 9 + 128) + (64 * 64 + 128);
    let by_hand = (64 * 9 + 128) + 4 * block + 650;
    assert_eq!((by_hand, count(&named("ds-cnn"), MNIST)), (21_066, 21_066));
    let deep = NetworkSpec { depth: Some(6), ..named("ds-cnn") };
    assert_eq!(count(&deep, MNIST), 21_066 + 2 * block);
}

#[test]
fn the_page_states_parameters_and_macs_as_computed() {
    let page = include_str!("../../../../docs/networks.md");
    let mut missing = String::new();
    for name in NAMES {
        let text = name == "text-encoder";
        let spec = NetworkSpec { vocabulary: text.then_some(257), ..named(name) };
        let mut row = format!("| `{}` |", spec.describe());
        let inputs: [&[usize]; 2] = if text { [&[64], &[256]] } else { [&MNIST, &CIFAR] };
        for input in inputs {
            let graph = spec.build(input, 10, 1).unwrap();
            for count in [graph.parameters() as u64, graph.macs()] {
                row += &format!(" {} |", grouped(count));
            }
        }
        if !page.contains(&row) {
            missing += &format!("\n{row}");
        }
    }
    assert!(missing.is_empty(), "docs/networks.md should say:{missing}");
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    match number / 1000 {
        0 => number.to_string(),
        thousands => format!("{},{:03}", grouped(thousands), number % 1000),
    }
}

#[test]
fn every_network_takes_every_size_of_image() {
    for spec in small().into_iter().chain(deep()) {
        for image in [DIGITS, MNIST, CIFAR, [4, 5, 40], [2, 70, 65]] {
            let graph = spec.build(&image, 7, 1).unwrap();
            assert_eq!(graph.value(graph.outputs[0]).shape[..], [1, 7], "{}", spec.describe());
            assert_eq!(graph.value(graph.inputs[0]).shape[1..], image);
        }
    }
}

#[test]
fn images_shrink_as_the_papers_say() {
    let graph = |name, image: [usize; 3]| named(name).build(&image, 10, 1).unwrap();
    let lenet = graph("lenet", MNIST);
    assert_eq!(shape(&lenet, "conv1"), [1, 6, 28, 28]);
    assert_eq!(shape(&lenet, "conv2"), [1, 16, 10, 10]);
    assert_eq!(shape(&lenet, "flatten"), [1, 400]);
    assert_eq!(shape(&graph("lenet", CIFAR), "conv1"), [1, 6, 28, 28]);
    assert_eq!(shape(&graph("lenet", DIGITS), "flatten"), [1, 16 * 2 * 2]);
    let resnet = graph("resnet8", CIFAR);
    assert_eq!(shape(&resnet, "layer1.0.relu2"), [1, 16, 32, 32]);
    assert_eq!(shape(&resnet, "layer3.0.relu2"), [1, 64, 8, 8]);
    assert_eq!(shape(&graph("ds-cnn", MNIST), "block4.relu2"), [1, 64, 14, 14]);
    assert_eq!(shape(&graph("ds-cnn", DIGITS), "block4.relu2"), [1, 64, 8, 8]);
    // Small images are halved three times fewer than ImageNet's five, or four by MobileNetV1.
    let large = [3, 96, 96];
    for (name, node, small) in [
        ("mobilenet-v1", "layers.12.relu2", 2),
        ("mobilenet-v2", "features.18.2", 4),
        ("mobilenet-v3-small", "features.12.2", 4),
        ("shufflenet-v2", "conv5.2", 4),
    ] {
        assert_eq!(shape(&graph(name, CIFAR), node)[2..], [small; 2], "{name}");
        assert_eq!(shape(&graph(name, large), node)[2..], [3, 3], "{name}");
    }
    for (image, tokens) in
        [(MNIST, 49), (CIFAR, 64), (DIGITS, 16), ([3, 224, 224], 49), ([1, 5, 17], 10)]
    {
        assert_eq!(shape(&graph("vit-tiny", image), "pos_embed"), [1, tokens, 64], "{image:?}");
    }
    let spectrogram = graph("tcn", [1, 49, 10]);
    assert_eq!(spectrogram.tensors["network.0.conv1.weight"].shape()[..], [32, 1, 3, 10]);
    assert_eq!(spectrogram.tensors["network.1.conv1.weight"].shape()[..], [32, 32, 3, 1]);
    assert_eq!(shape(&spectrogram, "network.3.relu"), [1, 32, 49, 1]);
    let signal = graph("tcn", [6, 1, 50]);
    assert_eq!(signal.tensors["network.0.conv1.weight"].shape()[..], [32, 6, 1, 3]);
    assert_eq!(shape(&signal, "network.3.relu"), [1, 32, 1, 50]);
    assert_eq!(shape(&graph("tc-resnet8", [1, 98, 40]), "block3.relu2"), [1, 48, 13, 1]);
}

#[test]
fn a_temporal_network_reads_no_future() {
    let spec = NetworkSpec { width: Some(5), depth: Some(3), ..named("tcn") };
    let mut graph = spec.build(&[2, 1, 20], 3, 1).unwrap();
    // The last block's answer, before the mean over time.
    let last = graph.nodes.iter().find(|n| n.name == "network.2.relu").unwrap().output;
    graph.outputs = vec![last];
    let end = graph.nodes.iter().position(|n| n.output == last).unwrap();
    graph.nodes.truncate(end + 1);
    let network = Network::new(&graph.compacted(), &Device::Cpu).unwrap();
    let x = values(&random(&[1, 2, 1, 20], 4));
    let answer = |x: &[f32]| {
        let x = Tensor::from_slice(x, (1, 2, 1, 20), &Device::Cpu).unwrap();
        network.forward(&x, Mode::Evaluate).unwrap().squeeze(2).unwrap()
    };
    let before = answer(&x);
    let mut changed = x;
    changed[12] += 1.0;
    changed[32] -= 1.0;
    let difference = (answer(&changed) - before).unwrap().abs().unwrap().sum(1).unwrap();
    let difference = values(&difference);
    assert!(difference[..12].iter().all(|&d| d == 0.0), "{difference:?}");
    assert!(difference[12] > 0.0, "{difference:?}");
}

#[test]
fn tensors_have_the_names_of_pytorch() {
    let names = |spec: &NetworkSpec| -> Vec<String> {
        let graph = spec.build(&DIGITS, 10, 1).unwrap();
        let weights = graph.tensor_order().filter_map(|t| Some(t.strip_suffix(".weight")?.into()));
        weights.collect()
    };
    assert_eq!(names(&named("mlp")), ["fc1", "fc2"]);
    assert_eq!(names(&named("lenet")), ["conv1", "conv2", "fc1", "fc2", "fc3"]);
    assert_eq!(
        names(&named("resnet8"))[..12],
        [
            "conv1",
            "bn1",
            "layer1.0.conv1",
            "layer1.0.bn1",
            "layer1.0.conv2",
            "layer1.0.bn2",
            "layer2.0.conv1",
            "layer2.0.bn1",
            "layer2.0.conv2",
            "layer2.0.bn2",
            "layer2.0.downsample.0",
            "layer2.0.downsample.1",
        ]
    );
    let resnet = named("resnet20").build(&CIFAR, 10, 1).unwrap();
    let tensors: Vec<String> = resnet.tensor_order().collect();
    assert_eq!(tensors.len(), 1 + 4 + 18 * 5 + 2);
    assert_eq!(tensors[5], "layer1.0.conv1.weight");
    assert_eq!(tensors[95..], ["linear.weight", "linear.bias"]);
    assert_eq!(
        names(&named("ds-cnn"))[..6],
        ["conv1", "bn1", "block1.depthwise", "block1.bn1", "block1.pointwise", "block1.bn2"]
    );
    assert_eq!(
        names(&all_layers()),
        [
            "conv1",
            "bn1",
            "depthwise1",
            "bn2",
            "pointwise1",
            "bn3",
            "squeeze-excite1.reduce",
            "squeeze-excite1.expand",
            "conv2",
            "conv3",
            "bn4",
            "fc1",
            "bn5",
            "fc2",
            "fc3",
        ]
    );
}

#[test]
fn weights_follow_from_seed_and_name_alone() {
    for spec in small() {
        let [first, again, other] = [1, 1, 2].map(|seed| spec.build(&MNIST, 10, seed).unwrap());
        assert_eq!(first, again);
        assert_ne!(first.tensors, other.tensors);
    }
    let graph = |hidden: &[usize]| {
        let spec = NetworkSpec { hidden: Some(hidden.into()), ..named("mlp") };
        spec.build(&MNIST, 10, 1).unwrap()
    };
    let (short, long) = (graph(&[32]), graph(&[32, 16]));
    assert_eq!(short.tensors["fc1.weight"], long.tensors["fc1.weight"]);
    assert_eq!(short.tensors["fc1.bias"], long.tensors["fc1.bias"]);
}

#[test]
fn weights_begin_within_the_bounds_of_their_papers() {
    let graph = named("lenet").build(&MNIST, 10, 1).unwrap();
    let largest = |graph: &Graph, name: &str| {
        let values = graph.tensors[name].f32s().unwrap().into_owned();
        values.iter().fold(0.0_f32, |most, v| most.max(v.abs()))
    };
    // PyTorch: ±1/√fan_in for weight and bias; thousands of draws come near the bound.
    for (name, bound) in [("conv2.weight", 150.0_f32), ("fc1.weight", 400.0)] {
        let (most, bound) = (largest(&graph, name), 1.0 / bound.sqrt());
        assert!(most <= bound && most > 0.99 * bound, "{name}: {most} {bound}");
    }
    assert!(largest(&graph, "fc1.bias") <= 0.05);
    // He: ±√(6 / fan_out).
    let graph = named("resnet8").build(&CIFAR, 10, 1).unwrap();
    let (most, bound) = (largest(&graph, "layer1.0.conv1.weight"), (6.0_f32 / 144.0).sqrt());
    assert!(most <= bound && most > 0.99 * bound, "{most} {bound}");
    let node = graph.nodes.iter().find(|n| n.name == "bn1").unwrap();
    for (role, value) in
        [("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0), ("running_var", 1.0)]
    {
        assert!(
            graph.f32s(node, role).unwrap().iter().all(|v| v.to_bits() == f32::to_bits(value)),
            "{role}"
        );
    }
}

#[test]
fn the_first_weights_of_a_seed_stay_what_they_are() {
    // Computed by another implementation, in Python: SHA-256 of seed and name as the key of ChaCha8,
    // the upper 24 bits of its first words, times 1/√64.
    let graph = named("mlp").build(&DIGITS, 10, 42).unwrap();
    let weights = graph.tensors["fc1.weight"].f32s().unwrap()[..3].to_vec();
    assert_eq!(
        weights.iter().map(|w| w.to_bits()).collect::<Vec<_>>(),
        [1_034_677_928, 1_023_507_800, 3_187_164_832]
    );
}

/// A batch of 16 with labels that have nothing to do with it.
fn batch(image: [usize; 3]) -> (Tensor, Tensor) {
    let [c, h, w] = image;
    let labels: Vec<u32> = (0..16).map(|i| i % 10).collect();
    (random(&[16, c, h, w], 5), Tensor::from_vec(labels, 16, &Device::Cpu).unwrap())
}

#[test]
fn every_network_learns_a_batch_by_heart() {
    let (x, labels) = batch(DIGITS);
    for spec in small() {
        let network = Network::new(&spec.build(&DIGITS, 10, 1).unwrap(), &Device::Cpu).unwrap();
        let adam: OptimizerSpec =
            serde_json::from_str(r#"{ "kind": "adam", "lr": 0.02 }"#).unwrap();
        let mut optimizer = Optimizer::new(&adam, network.parameters().to_vec()).unwrap();
        let mut losses = Vec::new();
        for _ in 0..30 {
            let logits = network.forward(&x, Mode::Train).unwrap();
            let input = LossInput { labels: Some(&labels), ..LossInput::new(&logits) };
            let loss = CrossEntropy::default().forward(&input).unwrap();
            losses.push(loss.to_scalar::<f32>().unwrap());
            optimizer.step(&loss.backward().unwrap(), 1.0).unwrap();
        }
        let (first, last) = (losses[0], losses[29]);
        assert!(last < 0.25 * first, "{}: {losses:?}", spec.describe());
        assert!((1.5..5.0).contains(&first), "{}: begins at {first}", spec.describe());
    }
}

#[test]
fn deep_networks_learn_a_little_in_a_few_steps() {
    let (x, labels) = batch(DIGITS);
    for spec in deep() {
        let network = Network::new(&spec.build(&DIGITS, 10, 1).unwrap(), &Device::Cpu).unwrap();
        let adam: OptimizerSpec =
            serde_json::from_str(r#"{ "kind": "adam", "lr": 0.005 }"#).unwrap();
        let mut optimizer = Optimizer::new(&adam, network.parameters().to_vec()).unwrap();
        let mut losses = Vec::new();
        for _ in 0..8 {
            let logits = network.forward(&x, Mode::Train).unwrap();
            let input = LossInput { labels: Some(&labels), ..LossInput::new(&logits) };
            let loss = CrossEntropy::default().forward(&input).unwrap();
            losses.push(loss.to_scalar::<f32>().unwrap());
            optimizer.step(&loss.backward().unwrap(), 1.0).unwrap();
        }
        // ln 10 is what a guess costs.
        assert!((1.5..5.0).contains(&losses[0]), "{}: {losses:?}", spec.describe());
        assert!(losses[7] < 0.95 * losses[0], "{}: {losses:?}", spec.describe());
    }
}

#[test]
fn the_runtime_gives_the_logits_of_the_interpreter() {
    let (x, _) = batch(DIGITS);
    for spec in small().into_iter().chain(deep()) {
        let network = Network::new(&spec.build(&DIGITS, 10, 1).unwrap(), &Device::Cpu).unwrap();
        // Running statistics that are not those of the beginning.
        network.forward(&x, Mode::Train).unwrap();
        let logits = network.forward(&x, Mode::Evaluate).unwrap();
        let graph = network.to_graph().unwrap();
        let folded = hipflask_quantize::prepare(&graph).unwrap();
        for graph in [graph, folded] {
            let model = Model::from_graph(graph).unwrap();
            let mut session = Session::new(&model, &Options::default()).unwrap();
            for sample in 0..4 {
                let image = x.narrow(0, sample, 1).unwrap().permute((0, 2, 3, 1)).unwrap();
                let got = session.predict(&values(&image)).unwrap();
                let got = Tensor::from_slice(got, (1, 10), &Device::Cpu).unwrap();
                let expected = logits.narrow(0, sample, 1).unwrap();
                assert_close(&spec.describe(), &got, &expected);
            }
        }
    }
}

#[test]
fn every_network_runs_in_int8_close_to_f32() {
    let (x, _) = batch(DIGITS);
    let images: Vec<Vec<f32>> = (0..16)
        .map(|i| values(&x.narrow(0, i, 1).unwrap().permute((0, 2, 3, 1)).unwrap()))
        .collect();
    for spec in small().into_iter().chain(deep()) {
        let network = Network::new(&spec.build(&DIGITS, 10, 1).unwrap(), &Device::Cpu).unwrap();
        // Statistics of these images: those of the beginning fit no image.
        for _ in 0..40 {
            network.forward(&x, Mode::Train).unwrap();
        }
        let graph = hipflask_quantize::prepare(&network.to_graph().unwrap()).unwrap();
        let mut calibrator =
            hipflask_quantize::Calibrator::new(&graph, hipflask_quantize::Method::MinMax).unwrap();
        for image in &images {
            calibrator.observe(image).unwrap();
        }
        let int8 = hipflask_quantize::to_int8(&graph, &calibrator.finish().unwrap()).unwrap();
        let answers = |graph: Graph| -> Vec<f32> {
            let model = Model::from_graph(graph).unwrap();
            let mut session = Session::new(&model, &Options::default()).unwrap();
            images.iter().flat_map(|image| session.predict(image).unwrap().to_vec()).collect()
        };
        let (f32, int8) = (answers(graph), answers(int8));
        // Relative to what tells the images apart, not to a bias that all share.
        let mean = f32.iter().sum::<f32>() / f32.len() as f32;
        let signal: f32 = f32.iter().map(|y| (y - mean).powi(2)).sum();
        let noise: f32 = f32.iter().zip(&int8).map(|(a, b)| (a - b).powi(2)).sum();
        assert!(noise < 0.05 * signal, "{}: {noise} of {signal}", spec.describe());
    }
}

#[test]
fn a_spec_says_what_it_is() {
    let described: Vec<String> = small().iter().map(NetworkSpec::describe).collect();
    let expected = [
        "mlp, hidden [24, 16]",
        "lenet, width 3",
        "resnet8, width 4",
        "resnet, width 5, depth 14",
        "resnet8x4, width 3",
        "ds-cnn, width 8",
        "31 layers",
    ];
    assert_eq!(described, expected);
    assert_eq!(named("resnet8").describe(), "resnet8, width 16");
    assert_eq!(named("mlp").describe(), "mlp, hidden [128]");
    let spec: NetworkSpec = serde_json::from_str(r#"{ "network": "mlp", "hidden": [8] }"#).unwrap();
    assert_eq!(spec.hidden, Some(vec![8]));
    assert!(serde_json::from_str::<NetworkSpec>(r#"{ "widht": 8 }"#).is_err());
}

#[test]
fn a_wrong_spec_is_refused_by_its_key() {
    let wrong = [
        (NetworkSpec::default(), "network: is missing"),
        (named("resnet9"), "did you mean \"resnet8\"? Valid are mlp, autoencoder, lenet, resnet8,"),
        (named("resnet14"), "network: \"resnet14\" is not known"),
        (named("wrn16-0"), "network: \"wrn16-0\" is not known"),
        (
            named("wrn18-2"),
            "wrn18-2: depth: 18 is none of a wide resnet's: 10, 16, 22, … (6 n + 4)",
        ),
        (NetworkSpec { depth: Some(8), ..named("resnet20") }, "depth: resnet20 has one depth"),
        (NetworkSpec { depth: Some(8), ..named("mlp") }, "depth: mlp has a layer for each size"),
        (
            NetworkSpec { depth: Some(18), ..named("resnet") },
            "resnet: depth: 18 is none of a resnet's: 8, 14, 20, … (6 n + 2)",
        ),
        (NetworkSpec { depth: Some(0), ..named("ds-cnn") }, "depth: 0 is out of range: 1 to 1001"),
        (named("transformer"), "network: \"transformer\" is not known. Valid are mlp"),
        (
            named("text-encoder"),
            "text-encoder: input: reads text, the data's samples are [1, 8, 8]",
        ),
        (
            NetworkSpec { width: Some(8), ..named("mlp") },
            "width: mlp has no channels: give `hidden`",
        ),
        (NetworkSpec { hidden: Some(vec![8]), ..named("lenet") }, "the size of lenet is `width`"),
        (NetworkSpec { width: Some(0), ..named("lenet") }, "width: 0 is out of range: 1 to 4096"),
        (NetworkSpec { hidden: Some(vec![8, 0]), ..named("mlp") }, "hidden: 0 is out of range"),
        (
            NetworkSpec { width: Some(8), ..layered(&["relu"]) },
            "width: belongs to a network by name",
        ),
        (
            NetworkSpec { layers: Some(Vec::new()), ..named("mlp") },
            "layers: stands beside `network`",
        ),
        (layered(&[]), "layers: is empty"),
        // 302 million in the first stage and as many in layer2.0.conv1; 8192² · 9 are 604 million.
        (
            NetworkSpec { width: Some(4096), ..named("resnet8") },
            "resnet8: layer2.0.conv2: brings the network to 1208",
        ),
        (
            NetworkSpec { hidden: Some(vec![65_536; 2]), ..named("mlp") },
            "mlp: fc2: brings the network to 4299292672 weights, the limit is 1000000000",
        ),
    ];
    for (spec, part) in wrong {
        let error = spec.build(&DIGITS, 10, 1).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
        assert_eq!(error.kind(), ErrorKind::Config, "{error}");
    }
    let error = named("mlp").build(&[1, 0, 8], 10, 1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    let error = named("mlp").build(&DIGITS, 0, 1).unwrap_err();
    assert_eq!(error.to_string(), "classes: 0 is out of range: 1 to 65536");
    let error = named("lenet").build(&[1, 3, 3], 10, 1).unwrap_err();
    assert!(error.to_string().starts_with("lenet: pool2: the window spans 2"), "{error}");
}

#[test]
fn vectors_go_through_linear_networks_on_the_desk_and_on_the_device() {
    let by_layers = layered(&["linear 8", "bn", "relu"]);
    for spec in [NetworkSpec { hidden: Some(vec![8]), ..named("mlp") }, by_layers] {
        let graph = spec.build(&[5], 3, 1).unwrap();
        assert_eq!(graph.value(graph.inputs[0]).shape[..], [1, 5]);
        let samples = [[0.5, -1.0, 2.0, 0.0, 1.0], [1.0, 1.0, -1.0, -0.25, 3.0]];
        let network = Network::new(&graph, &Device::Cpu).unwrap();
        let x = Tensor::from_slice(&samples.concat(), (2, 5), &Device::Cpu).unwrap();
        let logits = network.forward(&x, Mode::Evaluate).unwrap().to_vec2::<f32>().unwrap();
        let prepared = hipflask_quantize::prepare(&graph).unwrap();
        let mut calibrator =
            hipflask_quantize::Calibrator::new(&prepared, hipflask_quantize::Method::MinMax)
                .unwrap();
        for sample in &samples {
            calibrator.observe(sample).unwrap();
        }
        let int8 = hipflask_quantize::to_int8(&prepared, &calibrator.finish().unwrap()).unwrap();
        // Sums of 8 products in another order, and 8 bits for values below 4.
        for (graph, tolerance) in [(graph, 1e-5), (int8, 0.1)] {
            let model = Model::from_graph(graph).unwrap();
            let mut session = Session::new(&model, &Options::default()).unwrap();
            for (sample, expected) in samples.iter().zip(&logits) {
                let found = session.predict(sample).unwrap();
                let close = found.iter().zip(expected).all(|(a, b)| (a - b).abs() < tolerance);
                assert!(close, "{found:?} for {expected:?}");
            }
        }
    }
}

//! The layer language: what it accepts, what it refuses, and that both sides compute the same.

use candle_core::{Device, Tensor};
use hipflask_runtime::{Model, Options, Session};
use proptest::prelude::*;

use super::super::{NetworkSpec, syntax};
use super::{DIGITS, layered, shape};
use crate::interpreter::{Mode, Network};
use crate::nn::gradcheck::{assert_close, random, values};

#[test]
fn layers_say_shapes_and_defaults() {
    let graph = |lines: &[&str]| layered(lines).build(&[2, 9, 8], 5, 1).unwrap();
    let last = |line: &str, node: &str| shape(&graph(&[line]), node);
    // `same` keeps the size at stride 1 and gives ceil(size / stride) otherwise.
    assert_eq!(last("conv 6 3x3", "conv1"), [1, 6, 9, 8]);
    assert_eq!(last("conv 6 4x2 dilation 2", "conv1"), [1, 6, 9, 8]);
    assert_eq!(last("conv 6 3x3 stride 2", "conv1"), [1, 6, 5, 4]);
    assert_eq!(last("conv 6 3x3 pad valid", "conv1"), [1, 6, 7, 6]);
    assert_eq!(last("conv 6 3 pad 0x2", "conv1"), [1, 6, 7, 10]);
    assert_eq!(last("depthwise 3x3 stride 2x1", "depthwise1"), [1, 2, 5, 8]);
    assert_eq!(last("max-pool 2x2", "max-pool1"), [1, 2, 4, 4]);
    assert_eq!(last("avg-pool 3x3 stride 1 pad same", "avg-pool1"), [1, 2, 9, 8]);
    assert_eq!(last("global-avg-pool", "global-avg-pool1"), [1, 2, 1, 1]);
    // 6·2·9 + 6, or without the bias before `bn`, which has 2·6; then 432 inputs of 5 units.
    let head = 6 * 72 * 5 + 5;
    assert_eq!(graph(&["conv 6 3x3"]).parameters(), 108 + 6 + head);
    assert_eq!(graph(&["conv 6 3x3 no-bias"]).parameters(), 108 + head);
    assert_eq!(graph(&["conv 6 3x3", "bn"]).parameters(), 108 + 12 + head);
    // A last linear layer is the head; flattening comes by itself.
    assert_eq!(graph(&["linear 5"]).parameters(), 144 * 5 + 5);
    assert_eq!(graph(&["linear 5"]), graph(&["flatten", "linear 5"]));
    assert_eq!(graph(&["flatten"]), graph(&["linear 5"]));
}

#[test]
fn a_wrong_layer_is_refused_by_number_and_text() {
    let wrong: [(&[&str], &str); 24] = [
        (
            &["relu", "cnv 8 3x3"],
            "layer 2 \"cnv 8 3x3\": \"cnv\" is no kind of layer, did you mean \"conv\"?",
        ),
        (&["mish"], "valid are conv, depthwise, pointwise, linear, bn,"),
        (&[""], "layer 1 \"\": \"\" is no kind of layer: valid are conv"),
        (&["dropout 0.5"], "layer 1 \"dropout 0.5\": dropout is not supported"),
        (&["conv"], "the number of channels is missing; write: conv CHANNELS KxK [stride S]"),
        (&["conv 8"], "layer 1 \"conv 8\": the window is missing; write: conv"),
        (&["conv 0 3x3"], "the number of channels is a whole number from 1 to 65536, not \"0\""),
        (&["conv 8 3x"], "the window is a whole number from 1 to 4096, not \"\""),
        (&["conv 8 3x3x3"], "not \"3x3\""),
        (&["conv 8 3x3 step 2"], "\"step\" is no option here; write: conv"),
        (&["conv 8 3x3 stride"], "the stride is missing"),
        (&["conv 8 3x3 stride 2 stride 2"], "\"stride\" stands twice"),
        (&["relu 6"], "relu takes no options, but \"6\" follows"),
        (&["bn 0.1"], "\"0.1\" is no option here; write: bn"),
        (
            &["conv 8 3x3 groups 3"],
            "layer 1 \"conv 8 3x3 groups 3\": conv1: 2 input channels in 3 groups",
        ),
        (
            &["relu", "conv 8 9x9 pad valid"],
            "layer 2 \"conv 8 9x9 pad valid\": conv1: the window spans 9",
        ),
        (
            &["save", "conv 8 3x3", "add"],
            "layer 3 \"add\": add1: adds shapes [1, 8, 9, 8] and [1, 2, 9, 8]",
        ),
        (&["add"], "layer 1 \"add\": there is nothing to add"),
        (&["save", "relu"], "layer 1 \"save\": nothing adds what it saves"),
        (&["mul"], "layer 1 \"mul\": there is nothing to multiply"),
        (&["save", "conv 3 3x3", "mul"], "layer 3 \"mul\": mul1: multiplies [1, 2, 9, 8] by"),
        (&["shuffle 3"], "layer 1 \"shuffle 3\": shuffle1: 2 channels are not 3 groups"),
        (&["squeeze-excite"], "the reduction is missing; write: squeeze-excite REDUCTION"),
        (&["flatten", "bn"], "layer 2 \"bn\": only activations and a linear layer may follow"),
    ];
    for (lines, part) in wrong {
        let error = layered(lines).build(&[2, 9, 8], 5, 1).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    let error = layered(&["linear 12"]).build(&[2, 9, 8], 5, 1).unwrap_err();
    let expected = "layer 1 \"linear 12\": ends the network with 12 logits for 5 classes: write \
                    linear 5, or leave it out and it is appended";
    assert_eq!(error.to_string(), expected);
    let error = layered(&["linear 65536", "linear 65536"]).build(&[2, 9, 8], 5, 1).unwrap_err();
    assert!(error.to_string().contains("linear 5"), "{error}");
    let error =
        layered(&["linear 65536", "linear 65536", "relu"]).build(&DIGITS, 5, 1).unwrap_err();
    assert!(error.to_string().starts_with("layer 2 \"linear 65536\": fc2: brings"), "{error}");
}

/// Lines that are mostly valid, with numbers that keep networks small.
fn line() -> impl Strategy<Value = String> {
    let kind = prop::sample::select(vec![
        "conv 4",
        "conv 6",
        "depthwise",
        "pointwise 4",
        "linear 3",
        "bn",
        "relu",
        "tanh",
        "max-pool",
        "avg-pool",
        "global-avg-pool",
        "flatten",
        "save",
        "add",
        "mul",
        "squeeze-excite 2",
        "shuffle 2",
        "dropout",
    ]);
    let option = prop::sample::select(vec![
        "3x3",
        "2",
        "1x4",
        "stride 2",
        "pad same",
        "pad 1",
        "pad valid",
        "dilation 2",
        "groups 2",
        "no-bias",
        "0",
    ]);
    (kind, prop::collection::vec(option, 0..4))
        .prop_map(|(kind, options)| format!("{kind} {}", options.join(" ")))
}

proptest! {
    #[test]
    fn no_text_panics(text in "\\PC{0,40}", near in "(conv|linear|max-pool|pad) [0-9x ]{0,30}") {
        let _ = syntax::parse(&text);
        let _ = syntax::parse(&near);
    }

    #[test]
    fn layers_that_are_accepted_run_on_the_device(lines in prop::collection::vec(line(), 1..8)) {
        let spec = NetworkSpec { layers: Some(lines), ..NetworkSpec::default() };
        if let Ok(graph) = spec.build(&[2, 7, 6], 3, 1) {
            prop_assert_eq!(&graph.value(graph.outputs[0]).shape[..], &[1, 3]);
            let network = Network::new(&graph, &Device::Cpu).unwrap();
            let x = random(&[1, 2, 7, 6], 3);
            let expected = network.forward(&x, Mode::Evaluate).unwrap();
            let model = Model::from_graph(graph).unwrap();
            let mut session = Session::new(&model, &Options::default()).unwrap();
            let got = session.predict(&values(&x.permute((0, 2, 3, 1)).unwrap())).unwrap();
            let got = Tensor::from_slice(got, (1, 3), &Device::Cpu).unwrap();
            assert_close("logits", &got, &expected);
        }
    }
}

//! Changes of shape, constants among the nodes, names.

use hipflask_runtime::graph::Op;

use super::build::Net;
use super::build::Value::{Float, Floats, Int, Ints, Tensor};
use super::{assert_close, counting, imported, run};

/// A linear layer that gives twice the fourth feature of four.
fn fourth(net: Net, flat: &str) -> Net {
    net.floats("w", &[4, 1], &[0.0, 0.0, 0.0, 2.0]).node("MatMul", &[flat, "w"], "y", &[])
}

#[test]
fn every_way_to_flatten_keeps_the_order_of_the_features() {
    let image = || Net::new(13, &[-1, 2, 1, 2]).ints("shape", &[-1, 4]).ints("zero", &[0, -1]);
    let shape = [("value_ints", Ints(&[1, 4]))];
    let nets = [
        image().node("Flatten", &["x"], "f", &[]),
        image().node("Flatten", &["x"], "f", &[("axis", Int(-3))]),
        image().node("Reshape", &["x", "shape"], "f", &[]),
        image().node("Reshape", &["x", "zero"], "f", &[]),
        image().node("Constant", &[], "s", &shape).node("Reshape", &["x", "s"], "f", &[]),
        image()
            .node("Identity", &["shape"], "s", &[])
            .node("Dropout", &["x"], "d", &[])
            .node("Identity", &["d"], "i", &[])
            .node("Reshape", &["i", "s"], "f", &[]),
    ];
    for net in nets {
        let net = fourth(net, "f");
        assert_close(&run(&net, &[1.0, 2.0, 3.0, 4.0]), &[8.0]);
        assert_eq!(imported(&net).nodes.len(), 2);
    }
}

#[test]
fn shapes_that_nodes_compute_are_folded() {
    // PyTorch's x.view(x.size(0), -1).
    let net = Net::new(13, &[-1, 2, 1, 2])
        .node("Constant", &[], "0", &[("value_int", Int(0))])
        .ints("first", &[0])
        .ints("rest", &[-1])
        .node("Shape", &["x"], "s", &[])
        .node("Gather", &["s", "0"], "n", &[])
        .node("Unsqueeze", &["n", "first"], "u", &[])
        .node("Concat", &["u", "rest"], "c", &[("axis", Int(0))])
        .node("Reshape", &["x", "c"], "f", &[]);
    assert_close(&run(&fourth(net, "f"), &[1.0, 2.0, 3.0, 4.0]), &[8.0]);
}

#[test]
fn padding_as_pytorch_computes_it() {
    // torch.nn.functional.pad(x, (0, 1, 2, 0)) without constant folding: the list, innermost
    // dimension first, grows to all dimensions and is turned around.
    let net = Net::new(13, &[1, 1, 1, 1])
        .ints("p", &[0, 1, 2, 0])
        .ints("four", &[4])
        .ints("pairs", &[-1, 2])
        .ints("flat", &[-1])
        .ints("end", &[-i64::MAX])
        .ints("0", &[0])
        .node("ConstantOfShape", &["four"], "z", &[("value", Tensor(zero()))])
        .node("Concat", &["p", "z"], "all", &[("axis", Int(0))])
        .node("Reshape", &["all", "pairs"], "m", &[])
        .node("Slice", &["m", "flat", "end", "0", "flat"], "r", &[])
        .node("Transpose", &["r"], "t", &[("perm", Ints(&[1, 0]))])
        .node("Reshape", &["t", "flat"], "l", &[])
        .node("Cast", &["l"], "pads", &[("to", Int(7))])
        .node("Pad", &["x", "pads"], "y", &[]);
    let graph = imported(&net);
    assert_eq!(graph.nodes[0].op, Op::Pad { padding: [2, 0, 0, 1] });
    assert_close(&run(&net, &[5.0]), &[0.0, 0.0, 0.0, 0.0, 5.0, 0.0]);
}

fn zero() -> crate::onnx::proto::TensorProto {
    crate::onnx::proto::TensorProto {
        data_type: crate::onnx::tensors::data_type::INT64,
        dims: vec![1],
        int64_data: vec![0],
        ..Default::default()
    }
}

#[test]
fn a_shortcut_that_skips_pixels_and_adds_channels() {
    // He et al. 2016, option A: every second pixel, then zeros for the new channels.
    let net = Net::new(13, &[1, 1, 3, 3])
        .ints("from", &[0, 0])
        .ints("to", &[i64::MAX, 3])
        .ints("axes", &[2, -1])
        .ints("step", &[2, 2])
        .ints("pads", &[0, 1, 0, 0, 0, 1, 0, 0])
        .node("Slice", &["x", "from", "to", "axes", "step"], "s", &[])
        .node("Pad", &["s", "pads"], "y", &[]);
    let mut wanted = vec![0.0; 12];
    wanted[4..8].copy_from_slice(&[1.0, 3.0, 7.0, 9.0]);
    assert_close(&run(&net, &counting(9)), &wanted);
}

#[test]
fn a_pooled_image_is_squeezed_to_its_channels() {
    let pooled = |opset| {
        Net::new(opset, &[1, 4, 1, 2]).ints("axes", &[2, -1]).node(
            "GlobalAveragePool",
            &["x"],
            "p",
            &[],
        )
    };
    let old = pooled(11).node("Squeeze", &["p"], "f", &[("axes", Ints(&[2, 3]))]);
    let new = pooled(13).node("Squeeze", &["p", "axes"], "f", &[]);
    for net in [old, new] {
        // The mean of 7 and 8, doubled.
        assert_close(&run(&fourth(net, "f"), &counting(8)), &[15.0]);
    }
}

#[test]
fn constants_among_the_nodes_are_weights_too() {
    let one = super::build::floats("", &[1, 1], &[3.0]);
    let net = Net::new(13, &[1, 1])
        .node("Constant", &[], "w", &[("value", Tensor(one))])
        .node("Constant", &[], "b", &[("value_floats", Floats(&[10.0]))])
        .node("Constant", &[], "0", &[("value_float", Float(0.0))])
        .node("Gemm", &["x", "w", "b"], "g", &[])
        .node("Clip", &["g", "0"], "y", &[]);
    assert_close(&run(&net, &[2.0]), &[16.0]);
    assert_close(&run(&net, &[-4.0]), &[0.0]);
}

#[test]
fn names_come_from_onnx_and_name_the_tensors() {
    let mut net = Net::new(13, &[1, 1])
        .floats("w", &[1, 1], &[3.0])
        .node("MatMul", &["x", "w"], "a", &[])
        .node("MatMul", &["a", "w"], "b", &[])
        .node("Relu", &["b"], "c", &[]);
    net.graph().node[0].name = "/fc/MatMul".into();
    net.graph().node[1].name = "/fc/MatMul".into();
    let graph = imported(&net);
    let names: Vec<&str> = graph.nodes.iter().map(|node| node.name.as_str()).collect();
    assert_eq!(names, ["fc/MatMul", "fc/MatMul_2", "c"]);
    let tensors: Vec<&String> = graph.tensors.keys().collect();
    assert_eq!(tensors, ["fc/MatMul.weight", "fc/MatMul_2.weight"]);
    assert_eq!(graph.name, "g");
    assert_eq!(graph.nodes[2].op.name(), "relu");
}

#[test]
fn old_files_may_list_constants_among_the_inputs() {
    let mut net = fourth(Net::new(9, &[1, 4]), "x");
    let mut weight = net.graph().input[0].clone();
    weight.name = "w".into();
    net.graph().input.push(weight);
    let graph = imported(&net);
    assert_eq!(graph.inputs.len(), 1);
    assert_eq!(graph.nodes[0].op, Op::Linear);
}

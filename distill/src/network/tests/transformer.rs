//! Transformers over patches and over ids: the desk and the device, f32, f16 and int8.

use hipflask_runtime::graph::{Graph, Op};
use hipflask_runtime::{Tensor as Weights, View};

use super::*;

const LENGTH: usize = 13;
const VOCABULARY: usize = 21;

fn text_encoder() -> NetworkSpec {
    let vocabulary = Some(VOCABULARY);
    NetworkSpec { width: Some(20), depth: Some(2), vocabulary, ..named("text-encoder") }
}

/// Ids of texts of 0 to 12 tokens, padded with 0.
fn texts() -> Vec<Vec<f32>> {
    let id = |text: usize, at: usize| 1 + (7 * text + 3 * at * at) % (VOCABULARY - 1);
    let text = |text| {
        (0..LENGTH).map(move |at| if at < text { id(text, at) as f32 } else { 0.0 }).collect()
    };
    (0..LENGTH).map(text).collect()
}

fn predict(graph: &Graph, samples: &[Vec<f32>]) -> Vec<f32> {
    let model = Model::from_graph(graph.clone()).unwrap();
    let mut session = Session::new(&model, &Options::default()).unwrap();
    samples.iter().flat_map(|sample| session.predict(sample).unwrap().to_vec()).collect()
}

fn on_the_desk(graph: &Graph, samples: &[Vec<f32>]) -> Tensor {
    let network = Network::new(graph, &Device::Cpu).unwrap();
    let x = Tensor::from_vec(samples.concat(), (samples.len(), LENGTH), &Device::Cpu).unwrap();
    network.forward(&x, Mode::Evaluate).unwrap()
}

#[test]
fn a_text_has_the_same_logits_on_the_desk_and_on_the_device() {
    let graph = text_encoder().build(&[LENGTH], 3, 1).unwrap();
    let samples = texts();
    let device = predict(&hipflask_quantize::prepare(&graph).unwrap(), &samples);
    let device = Tensor::from_vec(device, (samples.len(), 3), &Device::Cpu).unwrap();
    assert_close("f32", &on_the_desk(&graph, &samples), &device);
    let half = predict(&hipflask_quantize::to_f16(&graph).unwrap(), &samples);
    let error = |a: f32, b: f32| (a - b).abs();
    let worst = values(&device).into_iter().zip(half).map(|(a, b)| error(a, b)).fold(0.0, f32::max);
    assert!(worst > 0.0 && worst < 2e-3, "{worst}");
}

#[test]
fn padding_says_nothing() {
    let mut graph = text_encoder().build(&[LENGTH], 3, 1).unwrap();
    let samples = texts();
    let before = on_the_desk(&graph, &samples);
    let rows = graph.tensors.get_mut("token_embed.weight").unwrap();
    let mut changed = rows.f32s().unwrap().into_owned();
    changed[..20].fill(3.0);
    *rows = Weights::from_f32(rows.shape().clone(), &changed);
    assert_eq!(values(&on_the_desk(&graph, &samples)), values(&before));
}

#[test]
fn in_int8_only_linear_layers_and_what_is_between_them_are_integers() {
    let mut graph = text_encoder().build(&[LENGTH], 3, 1).unwrap();
    // Rows as large as training makes them: at first they are smaller than what is added to them.
    let rows = graph.tensors.get_mut("token_embed.weight").unwrap();
    let larger: Vec<f32> = rows.f32s().unwrap().iter().map(|v| v * 50.0).collect();
    *rows = Weights::from_f32(rows.shape().clone(), &larger);
    let graph = hipflask_quantize::prepare(&graph).unwrap();
    let mut calibrator =
        hipflask_quantize::Calibrator::new(&graph, hipflask_quantize::Method::MinMax).unwrap();
    let samples = texts();
    for sample in &samples {
        calibrator.observe(sample).unwrap();
    }
    let int8 = hipflask_quantize::to_int8(&graph, &calibrator.finish().unwrap()).unwrap();
    for node in &int8.nodes {
        let integers = int8.value(node.output).quant.is_some();
        let expected = matches!(node.op, Op::Linear | Op::Quantize | Op::Activation { .. });
        assert_eq!(integers, expected, "{}", node.name);
    }
    let model = Model::from_graph(int8.clone()).unwrap();
    let mut session = Session::new(&model, &Options::default()).unwrap();
    let mut kinds = Vec::new();
    let mut note = |_, view: View<'_>| kinds.push(matches!(view, View::I8(_)));
    session.run_observed(&[View::F32(&samples[5])], &mut note).unwrap();
    assert!(kinds.iter().filter(|&&int8| int8).count() >= 8, "{kinds:?}");

    let (f32, int8) = (predict(&graph, &samples), predict(&int8, &samples));
    let classes = |at: usize| f32.iter().skip(at).step_by(3).sum::<f32>() / samples.len() as f32;
    let means = [classes(0), classes(1), classes(2)];
    let signal: f32 = f32.iter().enumerate().map(|(i, y)| (y - means[i % 3]).powi(2)).sum();
    let noise: f32 = f32.iter().zip(&int8).map(|(a, b)| (a - b).powi(2)).sum();
    assert!(noise < 0.01 * signal, "{noise} of {signal}");
}

//! Quantization-aware training: it mends what a bad conversion broke, and goes on where it was cut.

use hipflask_quantize::{Calibrator, Method, Range, prepare, to_int8};

use super::*;
use crate::data::Conversion;
use crate::evaluate::graph_logits;

/// `graph`, folded, and its ranges on some of the training samples, `share` of what they should be.
fn ranged(graph: &Graph, data: &DataSet, share: f32) -> (Graph, Calibration) {
    let prepared = prepare(graph).unwrap();
    let mut calibrator = Calibrator::new(&prepared, Method::MinMax).unwrap();
    let conversion = Conversion::new(&data.train.samples, &data.preprocess).unwrap();
    for index in 0..50 {
        let mut sample = Vec::new();
        conversion.append(&data.train.samples, index, &mut sample);
        calibrator.observe(&sample).unwrap();
    }
    let mut calibration = calibrator.finish().unwrap();
    for range in &mut calibration.ranges {
        *range = Range { min: range.min * share, max: range.max * share };
    }
    (prepared, calibration)
}

fn reached(graph: &Graph, data: &DataSet) -> f64 {
    let logits = graph_logits(graph, data, &data.test, &Device::Cpu).unwrap();
    accuracy(&logits, data.test.labels.as_ref().unwrap())
}

fn tuned(run: &Run<'_>, calibration: &Calibration) -> Result<Trained> {
    train(&Training { calibration: Some(calibration), ..run.training() }, &mut Silent)
}

#[test]
fn training_as_int8_mends_ranges_and_is_validated_by_integers() {
    let data = digits(&[], 1337);
    let start = network(8, 1);
    let mut run = plain(&start, &data, spec(4, &[LABELS]));
    run.spec.optimizer = serde_json::from_str(r#"{"kind": "adamw", "lr": 3e-3}"#).unwrap();
    let float = run.train().unwrap();
    // A sixth of each range clips most of what matters.
    let (prepared, calibration) = ranged(&float, &data, 0.16);
    let before = reached(&to_int8(&prepared, &calibration).unwrap(), &data);
    let folded = prepared.into_nchw().unwrap();
    let run = Run { graph: &folded, ..run };
    let trained = tuned(&run, &calibration).unwrap();
    let int8 = trained.last.clone();
    assert!(int8.tensors["conv1.weight"].i8s().is_ok());
    let after = reached(&int8, &data);
    assert!(before < 0.6 && after > 0.85, "{before} before, {after} after");
    // The validation accuracy of the last epoch is that of the very integers.
    let validation = data.validation.as_ref().unwrap();
    let logits = graph_logits(&int8, &data, validation, &Device::Cpu).unwrap();
    let expected = accuracy(&logits, validation.labels.as_ref().unwrap());
    assert_eq!(trained.summary.last.validation_accuracy, Some(expected));
}

#[test]
fn training_as_int8_that_was_cut_short_ends_with_the_same_bits() {
    let data = digits(&[Augment::Crop(1)], 200);
    let (prepared, calibration) = ranged(&network(5, 1), &data, 1.0);
    let graph = prepared.into_nchw().unwrap();
    let teacher = Mortal::new(usize::MAX);
    let mut whole = plain(&graph, &data, spec(3, &kd()));
    whole.teacher = Some(&teacher);
    whole.spec.ema = Some(0.9);
    let reference = tuned(&whole, &calibration).unwrap().last;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("state.safetensors");
    let mortal = Mortal::new(9);
    let mut run = whole.clone();
    let every = Some(Duration::ZERO);
    run.files = Files { checkpoint: Some(&state), resume: true, every, ..Files::default() };
    run.teacher = Some(&mortal);
    assert_eq!(tuned(&run, &calibration).unwrap_err().kind(), ErrorKind::Teacher);
    run.teacher = Some(&teacher);
    // Other ranges are another run.
    let (_, other) = ranged(&network(5, 1), &data, 0.5);
    assert_eq!(tuned(&run, &other).unwrap_err().kind(), ErrorKind::Checkpoint);
    assert!(tuned(&run, &calibration).unwrap().last == reference);
}

//! Mutual learning against hand-computed numbers.

use candle_core::{Device, Tensor, Var};

use super::at;
use crate::ErrorKind;
use crate::loss::{DistillationLoss, LossInput, Mutual};
use crate::nn::gradcheck::{assert_gradients, random, values};

/// Softmaxes of the student and two peers: (3/4, 1/4), (1/2, 1/2) and (1/4, 3/4); all (1/2, 1/2) for the
/// second sample. Logits are times `t`, for that temperature.
fn three(t: f32) -> [Tensor; 3] {
    let ln3 = t * 3.0_f32.ln();
    [[ln3, 0.0], [t, t], [0.0, ln3]]
        .map(|first| Tensor::new(&[first, [2.0, 2.0]], &Device::Cpu).unwrap())
}

#[test]
fn mutual_is_the_hand_computed_mean_of_divergences() {
    for t in [1.0_f32, 2.0] {
        let [student, even, other] = three(t);
        let (student, peers) = (Var::from_tensor(&student).unwrap(), [even, other]);
        let input = LossInput { peer_logits: &peers, ..LossInput::new(&student) };
        let loss = Mutual { temperature: at(f64::from(t)) }.forward(&input).unwrap();
        // KL(½, ½ ‖ ¾, ¼) = ½ ln(4/3) and KL(¼, ¾ ‖ ¾, ¼) = ½ ln 3: mean ½ ln 2; the second sample's is
        // 0, so ¼ ln 2, times T².
        let expected = t * t * 0.25 * 2.0_f32.ln();
        let got: f32 = loss.to_scalar().unwrap();
        assert!((got - expected).abs() < 1e-6, "{got}, not {expected}");
        // Gradient: T² · (¾ - mean of ½ and ¼) / T / 2 samples.
        let gradients = loss.backward().unwrap();
        let gradient = values(gradients.get(&student).unwrap());
        for (got, expected) in gradient.iter().zip([t * 3.0 / 16.0, -t * 3.0 / 16.0, 0.0, 0.0]) {
            assert!((got - expected).abs() < 1e-6, "{gradient:?}");
        }
    }
    let one = Mutual::default();
    let [student, even, _] = three(1.0);
    // One peer: half of ½ ln(4/3).
    let peers = [even];
    let input = LossInput { peer_logits: &peers, ..LossInput::new(&student) };
    let got: f32 = one.forward(&input).unwrap().to_scalar().unwrap();
    assert!((got - 0.25 * (4.0_f32 / 3.0).ln()).abs() < 1e-6, "{got}");
}

#[test]
fn the_gradient_of_mutual_equals_differences_and_none_flows_to_peers() {
    let peers = [random(&[3, 4], 2), random(&[3, 4], 3)];
    let loss = Mutual { temperature: at(1.5) };
    assert_gradients("mutual", &[random(&[3, 4], 1)], |t| {
        loss.forward(&LossInput { peer_logits: &peers, ..LossInput::new(&t[0]) })
    });
    let [student, peer] = [1, 2].map(|seed| Var::from_tensor(&random(&[2, 3], seed)).unwrap());
    let peers = [peer.as_tensor().clone()];
    let input = LossInput { peer_logits: &peers, ..LossInput::new(&student) };
    let gradients = loss.forward(&input).unwrap().backward().unwrap();
    assert!(gradients.get(&student).is_some() && gradients.get(&peer).is_none());
}

#[test]
fn peers_that_are_missing_or_tell_other_classes_apart_are_refused() {
    let student = random(&[2, 3], 1);
    let error = Mutual::default().forward(&LossInput::new(&student)).unwrap_err();
    assert_eq!((error.kind(), error.at()), (ErrorKind::Config, "mutual"));
    let peers = [random(&[2, 3], 2), random(&[2, 4], 3)];
    let input = LossInput { peer_logits: &peers, ..LossInput::new(&student) };
    let error = Mutual::default().forward(&input).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Shape);
    assert!(error.to_string().contains("the peer gives [2, 4] and the student [2, 3]"), "{error}");
}

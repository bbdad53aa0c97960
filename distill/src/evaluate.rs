//! How good a student is: accuracy, agreement with its teacher, Kullback–Leibler divergence.

use candle_core::{Device, Tensor};
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::Graph;
use hipflask_runtime::input::Preprocess;
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::data::{Batches, DataSet, Split};
use crate::interpreter::{Mode, Network};
use crate::teacher::{SessionTeacher, Teacher};

/// Samples in one pass of an evaluation.
const BATCH: usize = 128;

/// The logits of `graph` for all samples of `split`, in their own order: on `device` in f32, by the
/// device's runtime in int8.
pub fn graph_logits(
    graph: &Graph,
    data: &DataSet,
    split: &Split,
    device: &Device,
) -> Result<Logits> {
    if graph.values.iter().all(|value| value.quant.is_none()) {
        return network_logits(&Network::new(graph, device)?, data, split);
    }
    let preprocess = Some(data.preprocess.clone());
    let file = ModelFile { graph: graph.clone(), preprocess, card: Card::default() };
    teacher_logits(&SessionTeacher::new("student", file)?, data, split)
}

/// The logits of a network under training for all samples of `split`, in their own order; of one that
/// computes as its int8 form will, those of that form.
pub fn network_logits(network: &Network, data: &DataSet, split: &Split) -> Result<Logits> {
    if network.is_rounded() {
        return graph_logits(&network.to_graph()?, data, split, network.device());
    }
    let run = |x: &Tensor| network.forward(x, Mode::Evaluate);
    logits(&run, network.classes(), split, &data.preprocess, network.device())
}

/// A teacher's logits for all samples of `split`, in their own order, each preprocessed as the
/// teacher wants it.
pub fn teacher_logits(teacher: &dyn Teacher, data: &DataSet, split: &Split) -> Result<Logits> {
    let preprocess = teacher.preprocess().unwrap_or(&data.preprocess);
    logits(&|x| teacher.logits(x), teacher.classes(), split, preprocess, &Device::Cpu)
}

fn logits(
    run: &dyn Fn(&Tensor) -> Result<Tensor>,
    classes: usize,
    split: &Split,
    preprocess: &Preprocess,
    device: &Device,
) -> Result<Logits> {
    let mut logits = Logits::new(classes);
    for batch in Batches::new(split, preprocess, BATCH)? {
        let output = run(&Tensor::from_vec(batch.values, &batch.shape[..], device)?)?;
        logits.values.extend(output.flatten_all()?.to_vec1::<f32>()?);
    }
    Ok(logits)
}

/// Share of `labels`, one a sample, that are the best class.
pub fn accuracy(logits: &Logits, labels: &[u32]) -> f64 {
    hits(logits, labels) as f64 / labels.len().max(1) as f64
}

/// How many of `labels`, one a sample, are the best class.
pub fn hits(logits: &Logits, labels: &[u32]) -> usize {
    logits.rows().zip(labels).filter(|(row, label)| best(row) == **label as usize).count()
}

/// Logits of many samples, `[samples, classes]` row by row.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Logits {
    /// Columns.
    pub classes: usize,
    /// `samples · classes` values.
    pub values: Vec<f32>,
}

impl Logits {
    /// No rows yet.
    pub fn new(classes: usize) -> Self {
        Self { classes, values: Vec::new() }
    }

    /// The rows of a tensor `[samples, classes]`.
    pub fn from_tensor(tensor: &Tensor) -> Result<Self> {
        let (_, classes) = tensor.dims2()?;
        Ok(Self { classes, values: tensor.flatten_all()?.to_vec1()? })
    }

    /// A tensor `[samples, classes]` in main memory.
    pub fn to_tensor(&self) -> Result<Tensor> {
        Ok(Tensor::from_slice(&self.values, (self.len(), self.classes), &Device::Cpu)?)
    }

    /// One row a sample.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.classes.max(1))
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.rows().len()
    }

    /// Whether there are no samples.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }
}

/// Scores of one model on one set of samples; shares are fractions in [0, 1].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Scores {
    /// Samples scored.
    pub samples: usize,
    /// Share of samples whose best class is the label; `None` without labels.
    pub accuracy: Option<f64>,
    /// 95 % Wilson interval of `accuracy`.
    pub accuracy_interval: Option<[f64; 2]>,
    /// Share whose label is among the five best; only with more than five classes.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub top5: Option<f64>,
    /// Share of samples with the teacher's best class; `None` without a teacher.
    pub agreement: Option<f64>,
    /// Mean KL(teacher ‖ student) at temperature 1, in nats.
    pub kl: Option<f64>,
    /// Accuracy on the samples of each class; empty without labels.
    #[serde(default)]
    pub per_class: Vec<ClassScore>,
}

/// Accuracy on one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassScore {
    /// Index of the class.
    pub class: usize,
    /// Samples of it.
    pub samples: usize,
    /// Share of them that were recognised; `None` without samples.
    pub accuracy: Option<f64>,
}

/// Scores `student` against labels and a teacher's logits, as far as they are given.
///
/// Panics when the number of samples or classes differs between them.
pub fn score(student: &Logits, teacher: Option<&Logits>, labels: Option<&[u32]>) -> Scores {
    let samples = student.len();
    let mean = |sum: f64| if samples == 0 { 0.0 } else { sum / samples as f64 };
    let mut scores = Scores { samples, ..Scores::default() };
    if let Some(teacher) = teacher {
        let sizes = (teacher.len(), teacher.classes);
        assert_eq!(sizes, (samples, student.classes), "teacher and student score the same samples");
        let pairs = || student.rows().zip(teacher.rows());
        let same = pairs().filter(|(s, t)| best(s) == best(t)).count();
        scores.agreement = Some(mean(same as f64));
        scores.kl = Some(mean(pairs().map(|(s, t)| kl(t, s)).sum()));
    }
    if let Some(labels) = labels {
        assert_eq!(labels.len(), samples, "one label a sample");
        let right: Vec<bool> =
            student.rows().zip(labels).map(|(s, &l)| best(s) == l as usize).collect();
        let hits = right.iter().filter(|&&r| r).count();
        scores.accuracy = Some(mean(hits as f64));
        scores.accuracy_interval = Some(wilson(hits, samples));
        if student.classes > 5 {
            let among = student.rows().zip(labels).filter(|(s, l)| rank(s, **l as usize) < 5);
            scores.top5 = Some(mean(among.count() as f64));
        }
        scores.per_class = (0..student.classes)
            .map(|class| {
                let of_class = || labels.iter().zip(&right).filter(|(l, _)| **l as usize == class);
                let samples = of_class().count();
                let hits = of_class().filter(|(_, r)| **r).count();
                let accuracy = (samples > 0).then(|| hits as f64 / samples as f64);
                ClassScore { class, samples, accuracy }
            })
            .collect();
    }
    scores
}

/// Index of the largest logit; the first of equals.
pub fn best(row: &[f32]) -> usize {
    hipflask_runtime::golden::argmax(row)
}

/// How many classes score above `class` (before it, among equals).
fn rank(row: &[f32], class: usize) -> usize {
    let Some(&own) = row.get(class) else { return row.len() };
    let before = |&(i, v): &(usize, &f32)| match v.total_cmp(&own) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => i < class,
        std::cmp::Ordering::Less => false,
    };
    row.iter().enumerate().filter(before).count()
}

/// KL(p ‖ q) of the softmaxes of two rows of logits, in nats, computed in f64.
fn kl(p: &[f32], q: &[f32]) -> f64 {
    let (p, q) = (log_softmax(p), log_softmax(q));
    p.iter().zip(&q).map(|(p, q)| p.exp() * (p - q)).sum()
}

fn log_softmax(row: &[f32]) -> Vec<f64> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted: Vec<f64> = row.iter().map(|&v| f64::from(v - max)).collect();
    let log_sum = shifted.iter().map(|v| v.exp()).sum::<f64>().ln();
    shifted.iter().map(|v| v - log_sum).collect()
}

/// The 95 % score interval of a share (Wilson 1927).
pub fn wilson(hits: usize, samples: usize) -> [f64; 2] {
    if samples == 0 {
        return [0.0, 1.0];
    }
    let z = 1.959_964;
    let (n, p) = (samples as f64, hits as f64 / samples as f64);
    let centre = (p + z * z / (2.0 * n)) / (1.0 + z * z / n);
    let half = z / (1.0 + z * z / n) * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// Mean and sample standard deviation; the latter 0 for fewer than two values.
pub fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 0.0);
    }
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean) * (v - mean)).sum();
    (mean, if values.len() > 1 { (squares / (n - 1.0)).sqrt() } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logits(rows: &[[f32; 2]]) -> Logits {
        Logits { classes: 2, values: rows.concat() }
    }

    #[test]
    fn scores_by_hand() {
        let student = logits(&[[1.0, 0.0], [0.0, 1.0], [2.0, 1.0]]);
        let teacher = logits(&[[1.0, 0.0], [1.0, 0.0], [2.0, 1.0]]);
        let scores = score(&student, Some(&teacher), Some(&[0, 1, 1]));
        assert_eq!(scores.agreement, Some(2.0 / 3.0));
        assert_eq!(scores.accuracy, Some(2.0 / 3.0));
        assert_eq!(scores.per_class[1].accuracy, Some(0.5));
        assert_eq!(scores.top5, None);
        // Only row 1 differs: p = softmax(1, 0) = (0.731059, 0.268941), q the other way round;
        // KL = (0.731059 - 0.268941) · ln(0.731059 / 0.268941) = 0.462117 · 1 nats, over 3 rows.
        let expected = 0.462_117 / 3.0;
        assert!(scores.kl.is_some_and(|kl| (kl - expected).abs() < 1e-6), "{:?}", scores.kl);
    }

    #[test]
    fn wilson_of_published_example() {
        // 8 of 10: 0.490 to 0.943 (Agresti and Coull 1998).
        let [low, high] = wilson(8, 10);
        assert!((low - 0.490).abs() < 1e-3 && (high - 0.943).abs() < 1e-3, "{low} {high}");
    }

    #[test]
    fn deviation_is_the_sample_deviation() {
        let (mean, deviation) = mean_and_deviation(&[1.0, 2.0, 3.0]);
        assert_eq!((mean, deviation), (2.0, 1.0));
    }
}

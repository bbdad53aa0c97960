//! A device model as a teacher (f16 or int8 too), run by the runtime's sessions sample by sample.

use std::sync::{Mutex, PoisonError};

use candle_core::Tensor;
use hipflask_runtime::format::ModelFile;
use hipflask_runtime::input::Preprocess;
use hipflask_runtime::quant::QuantParams;
use hipflask_runtime::{Model, Options, Session, View};

use super::Teacher;
use super::network::{fingerprint, ports, without_softmax};
use super::samples::by_samples;
use crate::Result;

/// A model as the device runs it; its answers are the device's, bit for bit where it is int8.
pub struct SessionTeacher {
    name: String,
    model: Model,
    /// Of a sample; `[c, h, w]` for images.
    shape: Vec<usize>,
    classes: usize,
    /// How the ports stand for real numbers, where they are int8.
    input: Option<QuantParams>,
    output: Option<QuantParams>,
    /// Sessions that no thread is using.
    idle: Mutex<Vec<Session>>,
    fingerprint: String,
}

impl SessionTeacher {
    /// Plans `file`; a softmax at its end is left out. The preprocessing is the file's.
    pub fn new(name: impl Into<String>, mut file: ModelFile) -> Result<Self> {
        file.graph = without_softmax(file.graph);
        let fingerprint = fingerprint(&file.graph, file.preprocess.as_ref());
        let (shape, classes) = ports(&file.graph)?;
        let quant = |id| file.graph.value(id).quant;
        let (input, output) = (quant(file.graph.inputs[0]), quant(file.graph.outputs[0]));
        let model = Model::new(file)?;
        let idle = Mutex::new(vec![Session::new(&model, &Options::default())?]);
        Ok(Self { name: name.into(), model, shape, classes, input, output, idle, fingerprint })
    }

    fn idle_session(&self) -> Result<Session> {
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        idle.map_or_else(|| Ok(Session::new(&self.model, &Options::default())?), Ok)
    }

    /// Fills `logits` for one sample.
    fn answer(&self, session: &mut Session, sample: &[f32], logits: &mut [f32]) -> Result<()> {
        // The device has an image's channels innermost.
        let plane = match self.shape[..] {
            [_, h, w] => h * w,
            _ => 1,
        };
        let channels = sample.len() / plane.max(1);
        let values = (0..plane).flat_map(|p| sample.iter().skip(p).step_by(plane).take(channels));
        match self.input {
            None => session.run(&[View::F32(&values.copied().collect::<Vec<_>>())])?,
            Some(quant) => {
                let values: Vec<i8> = values.map(|&x| quant.quantize(x)).collect();
                session.run(&[View::I8(&values)])?;
            }
        }
        match (session.output(0), self.output) {
            (View::F32(values), _) => logits.copy_from_slice(values),
            (View::I8(values), quant) => {
                let quant = quant.unwrap_or(QuantParams { scale: 1.0, zero_point: 0 });
                for (logit, &q) in logits.iter_mut().zip(values) {
                    *logit = quant.dequantize(q);
                }
            }
        }
        Ok(())
    }
}

impl Teacher for SessionTeacher {
    fn logits(&self, images: &Tensor) -> Result<Tensor> {
        by_samples(&self.name, images, &self.shape, self.classes, 1, |sample, logits| {
            let mut session = self.idle_session()?;
            self.answer(&mut session, sample, logits)?;
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(session);
            Ok(())
        })
    }

    fn classes(&self) -> usize {
        self.classes
    }

    fn name(&self) -> &str {
        &self.name
    }

    fn fingerprint(&self) -> String {
        self.fingerprint.clone()
    }

    fn preprocess(&self) -> Option<&Preprocess> {
        self.model.preprocess()
    }
}

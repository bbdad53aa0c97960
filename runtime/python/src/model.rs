//! `hipflask.Model`: a model with a session, used by one thread at a time, without the GIL while inferring.

use std::path::PathBuf;
use std::sync::Mutex;

use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::LoadLimits;
use hipflask_runtime::kernels::Isa;
use hipflask_runtime::{Error, Options, Session, View};
use numpy::{IntoPyArray, PyArrayMethods};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyTuple};

use crate::error::{input, raised};
use crate::input::{Held, Taken};

/// An input or output: `name`, `dtype` ("float32" or "int8") and `shape`, whose first number is the batch, 1.
#[pyclass(frozen, get_all, module = "hipflask")]
pub(crate) struct Port {
    name: String,
    dtype: &'static str,
    shape: Vec<usize>,
}

#[pymethods]
impl Port {
    fn __repr__(&self) -> String {
        format!("Port(name={:?}, dtype={:?}, shape={:?})", self.name, self.dtype, self.shape)
    }
}

/// A student, ready to run.
///
/// Threads that share one take turns; `copy()` makes another with memory of its own.
#[pyclass(frozen, module = "hipflask")]
pub(crate) struct Model {
    model: hipflask_runtime::Model,
    options: Options,
    session: Mutex<Session>,
    inputs: Vec<hipflask_runtime::Port>,
    outputs: Vec<hipflask_runtime::Port>,
}

/// What `predict` reads.
#[derive(FromPyObject)]
enum Source {
    Bytes(Vec<u8>),
    File(PathBuf),
}

/// The place of an input in its file, and its best classes.
type Answer = (Option<usize>, Vec<(usize, f32)>);

#[pymethods]
impl Model {
    /// Opens a model file, which is mapped into memory and must not change meanwhile.
    ///
    /// `threads` share the work of an inference. `isa` names an instruction set, as "scalar"; without it
    /// the fastest, or what the environment variable HIPFLASK_ISA says.
    #[staticmethod]
    #[pyo3(signature = (path, *, threads = 1, isa = None))]
    fn open(py: Python<'_>, path: PathBuf, threads: usize, isa: Option<&str>) -> PyResult<Self> {
        let opened = py.detach(|| {
            let options = options(threads, isa)?;
            Self::new(hipflask_runtime::Model::open(path)?, options)
        });
        opened.map_err(|error| raised(py, &error))
    }

    /// A model from the bytes of its file.
    #[staticmethod]
    #[pyo3(signature = (bytes, *, threads = 1, isa = None))]
    fn from_bytes(
        py: Python<'_>,
        bytes: &[u8],
        threads: usize,
        isa: Option<&str>,
    ) -> PyResult<Self> {
        let read = || {
            let options = options(threads, isa)?;
            let file = ModelFile::from_bytes(bytes, &LoadLimits::default())?;
            Self::new(hipflask_runtime::Model::new(file)?, options)
        };
        read().map_err(|error| raised(py, &error))
    }

    /// Another of the same model, with memory of its own: for another thread.
    fn copy(&self, py: Python<'_>) -> PyResult<Self> {
        let made = py.detach(|| Self::new(self.model.clone(), self.options));
        made.map_err(|error| raised(py, &error))
    }

    /// Runs one inference: an array for each input, and for each output an array (a tuple of many).
    ///
    /// Arrays have the type and shape of `inputs`, with or without the batch of 1, and are contiguous: they
    /// are read where they lie, and must not be written to meanwhile. Other threads of Python go on.
    #[pyo3(signature = (*inputs))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let taken = self.taken(py, inputs).map_err(|error| raised(py, &error))?;
        let mut arrays = Vec::with_capacity(taken.len());
        for (port, taken) in self.outputs.iter().zip(taken) {
            let shape = port.shape.to_vec();
            arrays.push(match taken {
                Taken::F32(values) => values.into_pyarray(py).reshape(shape)?.into_any(),
                Taken::I8(values) => values.into_pyarray(py).reshape(shape)?.into_any(),
            });
        }
        match <[_; 1]>::try_from(arrays) {
            Ok([only]) => Ok(only),
            Err(many) => Ok(PyTuple::new(py, many)?.into_any()),
        }
    }

    /// The best classes of every input that is in a file (its path) or in the bytes of one: images (PGM, PPM,
    /// PNG, JPEG, .npy, raw bytes), sounds (WAV), rows of a table (CSV), arrays (.npy), lines of text, as the
    /// model reads. The same list as `hipflask-run predict --json` prints.
    #[pyo3(signature = (source, *, top = 3))]
    fn predict<'py>(
        &self,
        py: Python<'py>,
        source: Source,
        top: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let answers =
            py.detach(|| self.answers(source, top)).map_err(|error| raised(py, &error))?;
        let list = PyList::empty(py);
        for (at, best) in answers {
            let answer = PyDict::new(py);
            if let Some(at) = at {
                answer.set_item("at", at)?;
            }
            let classes = PyList::empty(py);
            for (index, score) in best {
                let label = self.model.card().labels.get(index).cloned();
                let class = PyDict::new(py);
                class.set_item("index", index)?;
                class.set_item("label", label.unwrap_or_else(|| format!("class {index}")))?;
                class.set_item("score", score)?;
                classes.append(class)?;
            }
            answer.set_item("top", classes)?;
            list.append(answer)?;
        }
        Ok(list)
    }

    /// Names of the classes, in the order of the scores; empty where the model has none.
    #[getter]
    fn labels(&self) -> Vec<String> {
        self.model.card().labels.clone()
    }

    /// What the model is for, where it comes from and what was measured: a dict.
    #[getter]
    fn card<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        dict(py, &serde_json::to_string(self.model.card()))
    }

    /// How files become inputs: a dict; None where the model does not say.
    #[getter]
    fn preprocess<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let rule = self.model.preprocess();
        rule.map(|rule| dict(py, &serde_json::to_string(rule))).transpose()
    }

    /// A `Port` for each input.
    #[getter]
    fn inputs(&self) -> Vec<Port> {
        ports(&self.inputs)
    }

    /// A `Port` for each output.
    #[getter]
    fn outputs(&self) -> Vec<Port> {
        ports(&self.outputs)
    }

    /// Bytes of all values of one inference.
    #[getter]
    fn arena_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.locked(py, |session| Ok(session.arena_bytes()))
    }

    /// Bytes of working memory besides the arena.
    #[getter]
    fn scratch_bytes(&self, py: Python<'_>) -> PyResult<usize> {
        self.locked(py, |session| Ok(session.scratch_bytes()))
    }

    /// Threads that share the work of an inference: 1 also where no step is worth dividing.
    #[getter]
    fn threads(&self, py: Python<'_>) -> PyResult<usize> {
        self.locked(py, |session| Ok(session.threads()))
    }

    /// Name of the instruction set in use.
    #[getter]
    fn isa(&self, py: Python<'_>) -> PyResult<&'static str> {
        self.locked(py, |session| Ok(session.isa().name()))
    }

    fn __repr__(&self) -> String {
        let graph = self.model.graph();
        format!("<hipflask.Model {:?}, {} parameters>", graph.name, graph.parameters())
    }
}

impl Model {
    fn new(model: hipflask_runtime::Model, options: Options) -> Result<Self, Error> {
        let session = Session::new(&model, &options)?;
        let (inputs, outputs) = (session.inputs().to_vec(), session.outputs().to_vec());
        Ok(Self { model, options, session: Mutex::new(session), inputs, outputs })
    }

    /// The outputs for arrays.
    fn taken(&self, py: Python<'_>, inputs: &Bound<'_, PyTuple>) -> Result<Vec<Taken>, Error> {
        if inputs.len() != self.inputs.len() {
            let (given, wanted) = (inputs.len(), self.inputs.len());
            return Err(input("inputs", format!("{given} were given, the model takes {wanted}")));
        }
        let held = inputs.iter().zip(&self.inputs).map(|(value, port)| Held::new(&value, port));
        let held = held.collect::<Result<Vec<_>, _>>()?;
        let views = held.iter().map(Held::view).collect::<Result<Vec<View<'_>>, _>>()?;
        py.detach(|| {
            let mut session = self.session.lock().map_err(|_| broken())?;
            session.run(&views)?;
            Ok((0..self.outputs.len()).map(|index| session.output(index).into()).collect())
        })
    }

    /// The answers for a file.
    fn answers(&self, source: Source, top: usize) -> Result<Vec<Answer>, Error> {
        let preprocess = self.model.preprocess().ok_or_else(|| {
            input("model", "says nothing of its preprocessing: give arrays to run()")
        })?;
        let (name, bytes): (_, hipflask_runtime::SharedBytes) = match source {
            Source::Bytes(bytes) => (String::new(), std::sync::Arc::new(bytes)),
            Source::File(path) => {
                (path.display().to_string(), hipflask_runtime::file::open(&path)?)
            }
        };
        let in_file = |error: Error| if name.is_empty() { error } else { error.in_file(&name) };
        let port = self.inputs.first().ok_or_else(|| input("model", "has no input"))?;
        let mut answers = Vec::new();
        for input in preprocess.inputs((*bytes).as_ref(), &port.shape).map_err(in_file)? {
            let input = input.map_err(in_file)?;
            let mut session = self.session.lock().map_err(|_| broken())?;
            answers.push((input.at, best(session.predict(&input.values)?, top)));
        }
        Ok(answers)
    }

    /// Asks the session without the GIL, so that a thread which infers is not waited for by all.
    fn locked<T: Send>(
        &self,
        py: Python<'_>,
        ask: impl FnOnce(&Session) -> Result<T, Error> + Send,
    ) -> PyResult<T> {
        let asked = py.detach(|| ask(&*self.session.lock().map_err(|_| broken())?));
        asked.map_err(|error| raised(py, &error))
    }
}

/// The `top` highest scores with their classes, best first, of equals the first.
fn best(scores: &[f32], top: usize) -> Vec<(usize, f32)> {
    let mut ranked: Vec<(usize, f32)> = scores.iter().copied().enumerate().collect();
    ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
    ranked.truncate(top);
    ranked
}

fn options(threads: usize, isa: Option<&str>) -> Result<Options, Error> {
    let isa = isa.map(|name| Isa::choose("isa", name)).transpose()?;
    Ok(Options { threads, isa, ..Options::default() })
}

fn ports(ports: &[hipflask_runtime::Port]) -> Vec<Port> {
    let port = |port: &hipflask_runtime::Port| Port {
        name: port.name.clone(),
        dtype: if port.dtype == hipflask_runtime::DType::I8 { "int8" } else { "float32" },
        shape: port.shape.to_vec(),
    };
    ports.iter().map(port).collect()
}

/// JSON as Python reads it.
fn dict<'py>(
    py: Python<'py>,
    json: &Result<String, serde_json::Error>,
) -> PyResult<Bound<'py, PyAny>> {
    let json = json.as_deref().unwrap_or("null");
    py.import("json")?.call_method1("loads", (json,))
}

fn broken() -> Error {
    input(
        "model",
        "was left half-way by a fault of hipflask itself: open it anew, and please report it",
    )
}

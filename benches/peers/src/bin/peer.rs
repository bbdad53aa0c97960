//! `hipflask-peer MODEL [--once]`: times hipflask for a driver that compares runtimes.
//!
//! It prints `ready PEAK_KIB FIRST_OUTPUT` after one inference on a ramp, then answers lines of
//! standard input: `run N` with the nanoseconds of N inferences, `out IN OUT` by reading f32s in
//! the order `[c, h, w]` from the file IN and writing the output's f32s to OUT, `quit` by ending.
//! With `--once` it ends after `ready`. `NAME.FORMAT.onnx` stands for `NAME.FORMAT.safetensors`.
//!
//! What a device does once for an input is outside the timed part: the order of its elements
//! becomes `[h, w, c]`, and an int8 model gets it quantized, as LiteRT does. With `HIPFLASK_INPUT`
//! set to `f32` an int8 model gets f32 and quantizes inside the timed part, as onnxruntime does.

use std::error::Error;
use std::hint::black_box;
use std::io::{BufRead, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::{Graph, Layout, LoadLimits, Op};
use hipflask_runtime::quant::QuantParams;
use hipflask_runtime::{Model, Options, Session, View, file};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With standard error closed too, only the exit code is left to tell.
            let _ = writeln!(std::io::stderr(), "error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let path = args.next().ok_or("usage: hipflask-peer MODEL [--once]")?;
    let once = args.any(|arg| arg == "--once");
    let keep_f32 = std::env::var_os("HIPFLASK_INPUT").is_some_and(|value| value == "f32");
    let mut peer = Peer::open(&model_file(Path::new(&path)), keep_f32)?;
    let ramp: Vec<f32> = (0..peer.elements()).map(|i| ((i * 37) % 255) as f32 / 255.0).collect();
    peer.set_input(&ramp)?;
    peer.run()?;
    let first = peer.output().first().copied().unwrap_or(0.0);
    let mut out = std::io::stdout().lock();
    writeln!(out, "ready {} {first}", peak_kib())?;
    out.flush()?;
    if once {
        return Ok(());
    }
    for line in std::io::stdin().lock().lines() {
        match line?.split_whitespace().collect::<Vec<_>>()[..] {
            ["run", count] => writeln!(out, "{}", peer.times(count.parse()?)?)?,
            ["out", from, to] => writeln!(out, "ok {}", peer.answer(from, to)?)?,
            ["quit"] => break,
            _ => return Err("lines are: run N, out IN OUT, quit".into()),
        }
        out.flush()?;
    }
    Ok(())
}

/// The hipflask file that belongs to an ONNX file; other names as they are.
fn model_file(path: &Path) -> PathBuf {
    match path.extension() {
        Some(extension) if extension == "onnx" => path.with_extension("safetensors"),
        _ => path.to_path_buf(),
    }
}

/// A session with its input in place.
struct Peer {
    session: Session,
    /// Of an int8 input.
    quant: Option<QuantParams>,
    f32s: Vec<f32>,
    int8s: Vec<i8>,
}

impl Peer {
    fn open(path: &Path, keep_f32: bool) -> Result<Self> {
        let mut model = ModelFile::from_shared(file::open(path)?, &LoadLimits::default())
            .map_err(|e| e.in_file(&path.display().to_string()))?;
        if !keep_f32 {
            model.graph = without_quantize(model.graph);
        }
        let quant = model.graph.inputs.first().and_then(|&id| model.graph.value(id).quant);
        let session = Session::new(&Model::new(model)?, &Options::default())?;
        Ok(Self { session, quant, f32s: Vec::new(), int8s: Vec::new() })
    }

    fn elements(&self) -> usize {
        self.session.inputs().first().map_or(0, |port| port.shape.elements())
    }

    /// Puts an input of `[c, h, w]` in place.
    fn set_input(&mut self, planes: &[f32]) -> Result<()> {
        if planes.len() != self.elements() {
            let (wanted, found) = (self.elements(), planes.len());
            return Err(format!("the model takes {wanted} values, {found} were given").into());
        }
        let shape = self.session.inputs().first().map(|port| port.shape.clone());
        let [h, w, c] = shape.and_then(|s| Layout::Nhwc.image(&s)).unwrap_or([1, 1, planes.len()]);
        let pixel = |i| (0..c).map(move |channel| planes[channel * h * w + i]);
        self.f32s = (0..h * w).flat_map(pixel).collect();
        if let Some(quant) = self.quant {
            self.int8s = self.f32s.iter().map(|&x| quant.quantize(x)).collect();
        }
        Ok(())
    }

    fn run(&mut self) -> Result<()> {
        let input = match self.quant {
            Some(_) => View::I8(&self.int8s),
            None => View::F32(&self.f32s),
        };
        Ok(self.session.run(&[input])?)
    }

    fn output(&self) -> Vec<f32> {
        match self.session.output(0) {
            View::F32(values) => values.to_vec(),
            View::I8(values) => values.iter().map(|&q| f32::from(q)).collect(),
        }
    }

    /// Nanoseconds of each of `count` inferences, with spaces between them.
    fn times(&mut self, count: usize) -> Result<String> {
        let mut times = Vec::with_capacity(count.min(1 << 20));
        for _ in 0..count {
            let start = Instant::now();
            self.run()?;
            black_box(self.session.output(0));
            times.push(start.elapsed().as_nanos().to_string());
        }
        Ok(times.join(" "))
    }

    /// Infers on the f32s of one file and writes those of the output to another; gives their number.
    fn answer(&mut self, from: &str, to: &str) -> Result<usize> {
        let bytes = std::fs::read(from)?;
        let input: Vec<f32> = bytes.as_chunks().0.iter().map(|&b| f32::from_le_bytes(b)).collect();
        self.set_input(&input)?;
        self.run()?;
        let output = self.output();
        let bytes: Vec<u8> = output.iter().flat_map(|v| v.to_le_bytes()).collect();
        std::fs::write(to, bytes)?;
        Ok(output.len())
    }
}

/// The same int8 network, taking its input already quantized.
fn without_quantize(mut graph: Graph) -> Graph {
    let readers = graph.use_counts();
    if let (&[input], Some(node)) = (&graph.inputs[..], graph.nodes.first())
        && node.op == Op::Quantize
        && node.inputs == [input]
        && readers[input.0] == 1
    {
        graph.inputs = vec![node.output];
        graph.nodes.remove(0);
        return graph.compacted();
    }
    graph
}

/// Highest resident memory so far (`VmHWM`, proc_pid_status(5)); 0 where there is no such file.
fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse().ok()).unwrap_or(0)
}

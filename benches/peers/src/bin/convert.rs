//! `hipflask-peer-convert FOLDER`: makes `NAME.f32.safetensors` and `NAME.int8.safetensors` of every
//! `NAME.f32.onnx` in a folder.
//!
//! int8 is calibrated on a few inputs of seeded noise in [0, 1), as the other runtimes' files are.

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hipflask_quantize::{Calibrator, Method, onnx, prepare, to_int8};
use hipflask_runtime::file::write_atomically;
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::Graph;

/// Inputs that the ranges are taken from.
const SAMPLES: usize = 8;

const SUFFIX: &str = ".f32.onnx";

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

fn run() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("usage: hipflask-peer-convert FOLDER")?;
    let mut files: Vec<PathBuf> = std::fs::read_dir(&folder)?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    files.retain(|path| path.to_string_lossy().ends_with(SUFFIX));
    files.sort();
    for path in files {
        convert(&path)?;
        writeln!(std::io::stdout(), "{}", path.display())?;
    }
    Ok(())
}

fn convert(path: &Path) -> Result<(), Box<dyn Error>> {
    let f32 = prepare(&onnx::open(path)?)?;
    let mut calibrator = Calibrator::new(&f32, Method::MinMax)?;
    let elements = f32.inputs.first().map_or(0, |&id| f32.value(id).shape.elements());
    let mut noise = Noise(99);
    for _ in 0..SAMPLES {
        let sample: Vec<f32> = (0..elements).map(|_| noise.next()).collect();
        calibrator.observe(&sample)?;
    }
    let int8 = to_int8(&f32, &calibrator.finish()?)?;
    save(path, "int8", int8)?;
    save(path, "f32", f32)
}

/// Writes `NAME.FORMAT.safetensors` beside `NAME.f32.onnx`.
fn save(path: &Path, format: &str, graph: Graph) -> Result<(), Box<dyn Error>> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = file.strip_suffix(SUFFIX).unwrap_or(&file);
    let bytes = ModelFile { graph, preprocess: None, card: Card::default() }.to_bytes();
    Ok(write_atomically(&path.with_file_name(format!("{name}.{format}.safetensors")), &bytes)?)
}

/// Reproducible numbers in [0, 1) (SplitMix64).
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1_u64 << 24) as f32
    }
}

//! A temporary folder in which the program runs, and small models to run it on.

use std::path::{Path, PathBuf};
use std::process::Command;

use hipflask_runtime::Tensor;
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op};
use hipflask_runtime::input::Preprocess;
use hipflask_runtime::quant::{QuantParams, multiplier};
use tempfile::TempDir;

/// A folder of its own for a test.
pub(crate) struct Workdir {
    folder: TempDir,
}

/// What the program said.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Workdir {
    pub(crate) fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    /// Runs the program in the folder; `HIPFLASK_DATA` is kept, all else that changes output is not.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        let mut command = program(self.folder.path());
        let output = command.args(args).output().unwrap();
        Output {
            code: output.status.code().unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// As [`Workdir::run`], when it must succeed; gives stdout.
    pub(crate) fn ok(&self, args: &[&str]) -> String {
        let output = self.run(args);
        assert_eq!(output.code, 0, "{args:?}: {output:?}");
        output.stdout
    }

    /// The stdout of a successful `--json` run, parsed.
    pub(crate) fn json(&self, args: &[&str]) -> serde_json::Value {
        let text = self.ok(&[args, &["--json"]].concat());
        serde_json::from_str(&text).unwrap()
    }
}

/// Compares `text` with `tests/snapshots/NAME.snap`; `INSTA_UPDATE=always` writes it anew.
pub(crate) fn snapshot(name: &str, text: &str) {
    insta::with_settings!(
        { snapshot_path => "snapshots", prepend_module_to_snapshot => false, omit_expression => true },
        { insta::assert_snapshot!(name, text) }
    );
}

/// The program, to be run in `folder`.
pub(crate) fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hipflask"));
    command.current_dir(folder).env("COLUMNS", "100").env("HIPFLASK_ISA", "scalar");
    command
}

/// A classifier of 2×2 images with one channel, scores `x · w`: class 0 looks at the upper row,
/// class 1 at the lower row, class 2 at nothing.
pub(crate) fn rows_model() -> Vec<u8> {
    let mut b = GraphBuilder::new("rows", Layout::Nhwc);
    let x = b.input("image", [1, 2, 2, 1]);
    let flat = b.node("flatten", Op::Flatten, &[x], []).unwrap();
    let weight =
        Tensor::from_f32([3, 4], &[1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
    let bias = Tensor::from_f32([3], &[0.0; 3]);
    let fc = b.node("fc", Op::Linear, &[flat], [("weight", weight), ("bias", bias)]).unwrap();
    file(b.finish(&[fc]).unwrap())
}

/// The same in int8: inputs in 1/127, weights exact, outputs in 1/50.
pub(crate) fn rows_model_int8() -> Vec<u8> {
    let (x_quant, y_quant) = (
        QuantParams { scale: 1.0 / 127.0, zero_point: 0 },
        QuantParams { scale: 0.02, zero_point: -28 },
    );
    let mut b = GraphBuilder::new("rows", Layout::Nhwc);
    let x = b.input("image", [1, 2, 2, 1]);
    let x = b.node_as("quantize", Op::Quantize, &[x], [], Some(x_quant)).unwrap();
    let flat = b.node_as("flatten", Op::Flatten, &[x], [], Some(x_quant)).unwrap();
    let scale = 1.0 / 127.0;
    let weight = Tensor::from_i8([3, 4], &[127, 127, 0, 0, 0, 0, 127, 127, 0, 0, 0, 0]);
    let weights = [
        ("weight", weight),
        ("bias", Tensor::from_i32([3], &[0; 3])),
        ("scale", Tensor::from_f32([3], &[scale; 3])),
        (
            "multiplier",
            Tensor::from_f32([3], &[multiplier(x_quant.scale, scale, y_quant.scale); 3]),
        ),
    ];
    let fc = b.node_as("fc", Op::Linear, &[flat], weights, Some(y_quant)).unwrap();
    b.fuse(Some(Activation::Relu));
    let out = b.node("dequantize", Op::Dequantize, &[fc], []).unwrap();
    file(b.finish(&[out]).unwrap())
}

fn file(graph: Graph) -> Vec<u8> {
    let labels = ["upper", "lower", "none"].map(String::from).to_vec();
    let card = Card { task: "classification".into(), labels, ..Card::default() };
    ModelFile { graph, preprocess: Some(Preprocess::default()), card }.to_bytes()
}

//! A temporary folder in which the program runs, and small models to run it on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use hipflask_runtime::Tensor;
use hipflask_runtime::format::{Card, ModelFile};
use hipflask_runtime::graph::{Activation, Graph, GraphBuilder, Layout, Op};
use hipflask_runtime::input::{Column, ColumnRule, Preprocess, TablePreprocess};
use hipflask_runtime::quant::{QuantParams, multiplier};
use tempfile::TempDir;

/// A folder of its own for a test.
pub(crate) struct Workdir {
    folder: PathBuf,
    /// Removes the folder at the end.
    _temporary: Option<TempDir>,
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
        let temporary = tempfile::tempdir().unwrap();
        Self { folder: temporary.path().into(), _temporary: Some(temporary) }
    }

    /// A folder that several tests read: empty now, and left when they end.
    pub(crate) fn shared(name: &str) -> Self {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
        if folder.exists() {
            std::fs::remove_dir_all(&folder).unwrap();
        }
        std::fs::create_dir_all(&folder).unwrap();
        Self { folder, _temporary: None }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap()
    }

    /// The program, to be run in the folder.
    pub(crate) fn command(&self) -> Command {
        program(&self.folder)
    }

    /// Runs the program in the folder; `HIPFLASK_DATA` is kept, all else that changes output is not.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        run(self.command().args(args))
    }

    /// Runs the program without progress when it must refuse its input: exit code 2, nothing on
    /// stdout, one paragraph on stderr, which this gives.
    pub(crate) fn refused(&self, args: &[&str]) -> String {
        let Output { code, stdout, stderr } = self.run(&[args, &["-q"]].concat());
        assert_eq!((code, stdout.as_str()), (2, ""), "{args:?}: {stderr}");
        let paragraph = stderr.strip_suffix('\n').unwrap();
        assert!(paragraph.starts_with("error: ") && !paragraph.contains('\n'), "{stderr}");
        paragraph.into()
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

/// Runs `command` to its end.
pub(crate) fn run(command: &mut Command) -> Output {
    let output = command.output().unwrap();
    Output {
        code: output.status.code().unwrap(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// The number at `path`, as `students.int8.accuracy`, of a JSON document.
pub(crate) fn number(document: &serde_json::Value, path: &str) -> f64 {
    let found = document.pointer(&format!("/{}", path.replace('.', "/")));
    found.and_then(serde_json::Value::as_f64).unwrap_or_else(|| panic!("{path} in {document}"))
}

/// The files in `folder` and below by relative name, without those whose name starts with a dot.
pub(crate) fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let (path, name) = entry.map(|e| (e.path(), e.file_name())).unwrap();
        let name = name.into_string().unwrap();
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(n, b)| (format!("{name}/{n}"), b)));
        } else if !name.starts_with('.') {
            found.insert(name, std::fs::read(path).unwrap());
        }
    }
    found
}

/// An IDX file of bytes (LeCun's MNIST page).
pub(crate) fn idx(dims: &[usize], data: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, 8, dims.len() as u8];
    bytes.extend(dims.iter().flat_map(|&size| (size as u32).to_be_bytes()));
    [&bytes, data].concat()
}

/// `count` square images that all differ.
pub(crate) fn idx_images(count: usize, side: usize) -> Vec<u8> {
    let pixels: Vec<u8> = (0..count * side * side).map(|i| (i * i / 7 % 251) as u8).collect();
    idx(&[count, side, side], &pixels)
}

/// `count` labels: 0 to 9, again and again.
pub(crate) fn idx_labels(count: usize) -> Vec<u8> {
    let labels: Vec<u8> = (0..count).map(|i| (i % 10) as u8).collect();
    idx(&[count], &labels)
}

/// Says that `test` proved nothing here.
#[expect(clippy::print_stderr, reason = "a skip is not a pass")]
pub(crate) fn skipped(test: &str, why: &str) {
    eprintln!("skipped: {test}: {why}");
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

/// A classifier of rows: class 0 scores what `age` is above 30, in tens, class 1 what it is below,
/// and both 4 more by the colours red and blue.
pub(crate) fn table_model() -> Vec<u8> {
    let mut b = GraphBuilder::new("table", Layout::Nhwc);
    let x = b.input("row", [1, 3]);
    let weight = Tensor::from_f32([2, 3], &[1.0, 4.0, 0.0, -1.0, 0.0, 4.0]);
    let bias = Tensor::from_f32([2], &[0.0; 2]);
    let fc = b.node("fc", Op::Linear, &[x], [("weight", weight), ("bias", bias)]).unwrap();
    let rules = [
        ("age", ColumnRule::Number { mean: 30.0, std: 10.0 }),
        ("colour", ColumnRule::OneHot { values: ["red", "blue"].map(String::from).to_vec() }),
    ];
    let columns = rules.map(|(name, rule)| Column { name: name.into(), rule }).to_vec();
    let table = TablePreprocess { columns, ..TablePreprocess::default() };
    file_of(b.finish(&[fc]).unwrap(), Preprocess::Table(table), &["old", "young"])
}

fn file(graph: Graph) -> Vec<u8> {
    file_of(graph, Preprocess::default(), &["upper", "lower", "none"])
}

fn file_of(graph: Graph, preprocess: Preprocess, labels: &[&str]) -> Vec<u8> {
    let labels = labels.iter().map(ToString::to_string).collect();
    let card = Card { task: "classification".into(), labels, ..Card::default() };
    ModelFile { graph, preprocess: Some(preprocess), card }.to_bytes()
}

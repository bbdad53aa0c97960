//! `distill` killed at any moment and run again with `--resume`: the same bytes as without the kill.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use hipflask_runtime::Model;

use crate::runs::{SMALL, copy_of_small};
use crate::util::{Workdir, files};

/// About a second of training in many epochs.
const RECIPE: &str = r#"
name = "killed"
seed = 11

[data]
mean = [0.2874]
std = [0.3540]
augment = ["crop:1"]

[teacher]
network = "mlp"
hidden = [48]
epochs = 10

[student]
network = "ds-cnn"
width = 4

[distill]
epochs = 12
schedule = { kind = "cosine", warmup = 1.0 }
control = true

[bundle]
targets = []
"#;

/// The models that a run left.
fn models(workdir: &Workdir) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(&workdir.path("out"));
    files.retain(|name, _| name.ends_with(".safetensors"));
    files
}

fn workdir() -> Workdir {
    with_recipe(RECIPE)
}

fn with_recipe(recipe: &str) -> Workdir {
    let workdir = Workdir::new();
    workdir.write("killed.toml", recipe);
    workdir
}

/// What a run that nobody interrupts leaves.
fn uninterrupted(recipe: &str, command: &str) -> BTreeMap<String, Vec<u8>> {
    let workdir = with_recipe(recipe);
    workdir.ok(&[command, "killed.toml", "--out", "out", "-q"]);
    models(&workdir)
}

/// Runs `command` and kills it (SIGKILL) once `when` holds; whether it was killed before its end.
fn killed(workdir: &Workdir, args: &[&str], mut when: impl FnMut() -> bool) -> bool {
    let mut program = workdir.command();
    program.args(args).args(["killed.toml", "--out", "out", "-q"]);
    let mut child = program.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let limit = Instant::now() + Duration::from_mins(2);
    while !when() {
        if child.try_wait().unwrap().is_some() {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{output:?}");
            return false;
        }
        assert!(Instant::now() < limit, "nothing happened for two minutes");
        std::thread::sleep(Duration::from_micros(200));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    true
}

/// Every file that is there is a whole one.
fn all_whole(folder: &Path) {
    if !folder.exists() {
        return;
    }
    for (name, bytes) in files(folder) {
        if name.starts_with("checkpoints/") {
            let (length, rest) = bytes.split_first_chunk::<8>().unwrap();
            let (header, data) = rest.split_at(u64::from_le_bytes(*length) as usize);
            let header: serde_json::Value = serde_json::from_slice(header).unwrap();
            let tensors = header.as_object().unwrap().values();
            let ends = tensors.filter_map(|tensor| tensor["data_offsets"][1].as_u64());
            assert_eq!(ends.max(), Some(data.len() as u64), "{name}");
        } else if name.ends_with(".safetensors") {
            Model::open(folder.join(&name)).unwrap();
        }
    }
}

fn lines(path: &Path) -> usize {
    std::fs::read_to_string(path).map_or(0, |text| text.matches('\n').count())
}

/// Temporary files, which are those whose name starts with a dot, and not the lock.
fn temporary(folder: &Path) -> Vec<String> {
    let folders = [folder.to_path_buf(), folder.join("checkpoints")];
    let entries = folders.iter().flat_map(|folder| std::fs::read_dir(folder).unwrap());
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with('.') && name != ".lock").collect()
}

fn assert_same(found: &BTreeMap<String, Vec<u8>>, wanted: &BTreeMap<String, Vec<u8>>) {
    assert!(wanted.contains_key("student-f32.safetensors"));
    let different: Vec<_> = wanted
        .iter()
        // A checkpoint also holds times.
        .filter(|(name, bytes)| !name.contains('/') && found.get(*name) != Some(bytes))
        .map(|(name, _)| name)
        .collect();
    assert!(different.is_empty(), "{different:?} differ from the uninterrupted run's");
}

#[test]
fn killed_between_epochs_of_every_training_it_ends_with_the_same_weights() {
    let workdir = workdir();
    let out = workdir.path("out");
    let mut kills = 0;
    let moments = [
        ("teacher", 1),
        ("teacher", 7),
        ("student", 1),
        ("student", 8),
        ("control", 1),
        ("control", 5),
    ];
    for (i, (role, epochs)) in moments.into_iter().enumerate() {
        let metrics = out.join(format!("metrics-{role}.jsonl"));
        let args: &[&str] = if i == 0 { &["distill"] } else { &["distill", "--resume"] };
        kills += usize::from(killed(&workdir, args, || lines(&metrics) >= epochs));
        all_whole(&out);
    }
    assert!(kills >= 4, "only {kills} kills came in time");
    workdir.ok(&["distill", "killed.toml", "--out", "out", "-q", "--resume"]);
    assert_same(&models(&workdir), &uninterrupted(RECIPE, "distill"));
    // One line an epoch, however often it was interrupted.
    for (role, epochs) in [("teacher", 10), ("student", 12), ("control", 12)] {
        assert_eq!(lines(&out.join(format!("metrics-{role}.jsonl"))), epochs, "{role}");
    }
    assert_eq!(temporary(&out), Vec::<String>::new());
}

#[test]
fn a_killed_chain_ends_with_the_same_weights() {
    let assistant =
        "[[teacher.assistants]]\nnetwork = \"mlp\"\nhidden = [24]\nepochs = 8\n\n[student]";
    let recipe = RECIPE
        .replace("network = \"ds-cnn\"\nwidth = 4", "network = \"mlp\"\nhidden = [16]")
        .replace("[student]", assistant)
        .replace("control = true", "generations = 2");
    let workdir = with_recipe(&recipe);
    let out = workdir.path("out");
    let mut kills = 0;
    for (i, role) in ["assistant-1", "generation-1", "student"].into_iter().enumerate() {
        let metrics = out.join(format!("metrics-{role}.jsonl"));
        let args: &[&str] = if i == 0 { &["distill"] } else { &["distill", "--resume"] };
        kills += usize::from(killed(&workdir, args, || lines(&metrics) >= 3));
        all_whole(&out);
    }
    assert!(kills >= 2, "only {kills} kills came in time");
    workdir.ok(&["distill", "killed.toml", "--out", "out", "-q", "--resume"]);
    let whole = uninterrupted(&recipe, "distill");
    assert!(whole.contains_key("assistant-1.safetensors"));
    assert!(whole.contains_key("generation-1.safetensors"));
    assert_same(&models(&workdir), &whole);
}

#[test]
fn killed_peers_end_with_the_same_weights() {
    let teacher = RECIPE.find("[teacher]").unwrap()..RECIPE.find("[student]").unwrap();
    let mut recipe = RECIPE.to_string();
    recipe.replace_range(teacher, "");
    let peers = "[distill]\nema = 0.9\npeers = [{ network = \"mlp\", hidden = [32] }]";
    let recipe = recipe.replace("[distill]", peers);
    let workdir = with_recipe(&recipe);
    let out = workdir.path("out");
    let mut kills = 0;
    for (i, epochs) in [1, 4, 9].into_iter().enumerate() {
        let metrics = out.join("metrics-peer-1.jsonl");
        let args: &[&str] = if i == 0 { &["distill"] } else { &["distill", "--resume"] };
        kills += usize::from(killed(&workdir, args, || lines(&metrics) >= epochs));
        all_whole(&out);
    }
    assert!(kills >= 2, "only {kills} kills came in time");
    workdir.ok(&["distill", "killed.toml", "--out", "out", "-q", "--resume"]);
    let whole = uninterrupted(&recipe, "distill");
    assert!(whole.contains_key("peer-1.safetensors"));
    assert_same(&models(&workdir), &whole);
    for role in ["student", "peer-1", "control"] {
        assert_eq!(lines(&out.join(format!("metrics-{role}.jsonl"))), 12, "{role}");
    }
}

#[test]
fn killed_at_any_moment_ship_ends_with_the_same_files() {
    let workdir = workdir();
    let out = workdir.path("out");
    // Moments between start and end, spread by the golden ratio.
    for i in 0..10_u32 {
        let moment = Duration::from_millis(u64::from(20 + (i * 618) % 700));
        let start = Instant::now();
        let args: &[&str] = if i == 0 { &["ship"] } else { &["ship", "--resume"] };
        killed(&workdir, args, || start.elapsed() >= moment);
        all_whole(&out);
    }
    // As if one had died while it wrote.
    let left = ["out/.student-f32.safetensors.1.tmp", "out/checkpoints/.student.safetensors.1.tmp"];
    std::fs::create_dir_all(out.join("checkpoints")).unwrap();
    for name in left {
        workdir.write(name, b"half");
    }
    workdir.ok(&["ship", "killed.toml", "--out", "out", "-q", "--resume"]);
    assert_same(&models(&workdir), &uninterrupted(RECIPE, "ship"));
    assert_eq!(temporary(&out), Vec::<String>::new());
}

#[test]
fn a_student_of_a_teacher_trained_before_goes_on_too() {
    let (workdir, whole) = (workdir(), workdir());
    for workdir in [&workdir, &whole] {
        workdir.ok(&["teacher", "killed.toml", "--out", "out", "-q"]);
    }
    whole.ok(&["distill", "killed.toml", "--out", "out", "-q"]);
    let metrics = workdir.path("out/metrics-student.jsonl");
    killed(&workdir, &["distill"], || lines(&metrics) >= 2);
    workdir.ok(&["distill", "killed.toml", "--out", "out", "-q", "--resume"]);
    assert_same(&models(&workdir), &models(&whole));
}

#[test]
fn a_checkpoint_of_another_run_is_refused_with_what_differs() {
    let workdir = copy_of_small();
    let resume = |sets: &[&str]| {
        let args = ["distill", "small.toml", "--out", "out", "--resume"];
        workdir.refused(&[&args[..], sets].concat())
    };
    let error = resume(&["--set", "teacher.epochs=6"]);
    assert!(error.contains("checkpoints/teacher.safetensors: belongs to another run"), "{error}");
    assert!(error.contains("it differs in the training options;"), "{error}");
    let error = resume(&["--seed", "5"]);
    assert!(error.contains("the network") && error.contains("the seed"), "{error}");
    workdir.write("out/checkpoints/teacher.safetensors", b"{}");
    let error = resume(&[]);
    assert!(error.contains("checkpoints/teacher.safetensors: is no checkpoint"), "{error}");
    assert!(error.contains("start again without --resume"), "{error}");
    workdir.write("new.toml", SMALL);
    workdir.ok(&["distill", "new.toml", "--out", "out", "-q"]);
}

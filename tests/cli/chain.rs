//! Teacher assistants and born-again students: each network of the chain is taught by the one before.

use hipflask_runtime::Model;

use crate::runs::SMALL;
use crate::util::{Workdir, number};

/// The small recipe without a control, with an assistant and as many generations.
fn workdir(generations: usize) -> Workdir {
    let workdir = Workdir::new();
    let assistant = "[[teacher.assistants]]\nnetwork = \"mlp\"\nhidden = [24]\nepochs = 6\n\
                     batch_size = 32\noptimizer = { kind = \"adam\", lr = 1e-2 }\n\n[student]";
    let distill = format!("[distill]\ngenerations = {generations}");
    let text = SMALL.replace("[student]", assistant).replace("[distill]", &distill);
    workdir.write("chain.toml", text.replace("control = true", "control = false"));
    workdir.write("plain.toml", SMALL.replace("control = true", "control = false"));
    workdir
}

fn assert_same_network(workdir: &Workdir, files: [&str; 2]) {
    let [a, b] = files.map(|name| Model::open(workdir.path(name)).unwrap());
    assert_eq!(a.graph(), b.graph(), "{files:?}");
}

/// The student of `plain.toml` from the teacher in `file`, in the folder `out`.
fn taught_by(workdir: &Workdir, file: &str, out: &str) {
    workdir.ok(&["distill", "plain.toml", "--out", out, "--teacher", file, "-q"]);
}

#[test]
fn an_assistant_learns_from_the_teacher_and_teaches_the_student() {
    let workdir = workdir(1);
    let text = workdir.ok(&["ship", "chain.toml", "--out", "o", "-q"]);
    assert!(text.contains("\nassistant-1 ") && text.contains("\nassistant-1 training: "), "{text}");
    let report: serde_json::Value = serde_json::from_slice(&workdir.read("o/report.json")).unwrap();
    assert_eq!(report["chain"][0]["name"], "assistant-1");
    // Well above what it began with, and like its teacher.
    assert!(number(&report, "chain.0.accuracy") > 0.8, "{report}");
    assert!(number(&report, "chain.0.agreement") > 0.8, "{report}");
    // The student is the one that the assistant's file teaches, not the teacher's.
    taught_by(&workdir, "o/assistant-1.safetensors", "direct");
    let student = "o/student-f32.safetensors";
    assert_same_network(&workdir, [student, "direct/student-f32.safetensors"]);
    taught_by(&workdir, "o/teacher.safetensors", "short");
    assert!(workdir.read(student) != workdir.read("short/student-f32.safetensors"));
    // Its own figures are those of a validation of its file.
    let found = workdir.json(&["validate", "o/assistant-1.safetensors", "--data", "plain.toml"]);
    let [found, wanted] =
        [number(&found, "students.f32.accuracy"), number(&report, "chain.0.accuracy")];
    assert_eq!(found.to_bits(), wanted.to_bits());
}

#[test]
fn each_generation_learns_from_the_one_before() {
    let workdir = workdir(3);
    let run = workdir.json(&["distill", "chain.toml", "--out", "o"]);
    let names: Vec<_> = run["chain"].as_array().unwrap().iter().map(|link| &link["name"]).collect();
    assert_eq!(names, ["assistant-1", "generation-1", "generation-2"]);
    taught_by(&workdir, "o/generation-2.safetensors", "direct");
    assert_same_network(&workdir, ["o/student-f32.safetensors", "direct/student-f32.safetensors"]);
    let text = workdir.ok(&["distill", "chain.toml", "--out", "o", "-q"]);
    assert!(
        text.contains("\ngeneration-2: ") && text.contains("agreement with the teacher"),
        "{text}"
    );
    // Generations are networks of one kind that began with other weights.
    let [a, b] = ["generation-1", "generation-2"]
        .map(|name| Model::open(workdir.path(&format!("o/{name}.safetensors"))).unwrap());
    assert_eq!(a.graph().nodes, b.graph().nodes);
    assert_ne!(a.graph().tensors, b.graph().tensors);
}

#[test]
fn seeds_report_every_network_of_the_chain() {
    let workdir = workdir(2);
    let args = ["ship", "chain.toml", "--out", "o", "--seeds", "2", "--set", "quantize.to=[]"];
    let report = workdir.json(&args);
    let lines = report["seeds"]["accuracy"].as_array().unwrap();
    let models: Vec<_> = lines.iter().map(|line| &line["model"]).collect();
    assert_eq!(models, ["teacher", "assistant-1", "generation-1", "student f32"]);
}

#[test]
fn a_chain_that_cannot_be_is_refused_before_the_teacher_is_trained() {
    let workdir = workdir(2);
    let set = |set: &str| {
        let error = workdir.refused(&["distill", "chain.toml", "--out", "o", "--set", set]);
        assert!(!workdir.path("o/teacher.safetensors").exists());
        error
    };
    let error = set("teacher.assistants.0.network=mpl");
    assert!(error.contains("teacher.assistants.0: ") && error.contains("\"mlp\"?"), "{error}");
    let error = set("teacher.assistants.0.epochs=0");
    assert!(error.contains("teacher.assistants.0.epochs is 0"), "{error}");
    let error = set("teacher.assistants.0.layers=[\"relu\"]");
    assert!(error.contains("teacher.assistants.0 needs either network or layers"), "{error}");
    let labels = "[{ kind = \"cross-entropy\" }]";
    let error = set(&format!("teacher.assistants.0.loss={labels}"));
    assert!(error.contains("teacher.assistants.0: no term of its loss imitates"), "{error}");
    let error = set(&format!("distill.loss={labels}"));
    assert!(error.contains("no term of "), "{error}");
    assert!(set("distill.generations=0").contains("distill.generations is 0"));
}

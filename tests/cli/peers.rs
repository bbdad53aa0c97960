//! Peers trained together with the student, without a teacher and beside one.

use serde_json::Value;

use crate::runs::SMALL;
use crate::util::{Workdir, number};

/// The small recipe with two peers instead of its teacher.
fn workdir() -> Workdir {
    let teacher = SMALL.find("[teacher]").unwrap()..SMALL.find("[student]").unwrap();
    let peers = "[distill]\npeers = [{ network = \"mlp\", hidden = [32] }, { layers = [\"linear 24\", \"relu\"] }]";
    let mut alone = SMALL.to_string();
    alone.replace_range(teacher, "");
    let workdir = Workdir::new();
    workdir.write("peers.toml", alone.replace("[distill]", peers));
    workdir.write("taught.toml", SMALL.replace("[distill]", peers));
    workdir
}

#[test]
fn a_student_learns_with_its_peers_and_is_shipped_with_their_figures() {
    let workdir = workdir();
    let text = workdir.ok(&["ship", "peers.toml", "--out", "o", "-q"]);
    for line in ["\npeer-1 ", "\npeer-2 ", "\npeer-2 training: 8 epochs", "\nDistillation's gain "]
    {
        assert!(text.contains(line), "{line:?} in\n{text}");
    }
    let report: Value = serde_json::from_slice(&workdir.read("o/report.json")).unwrap();
    assert_eq!(report["teacher"], Value::Null);
    assert_eq!(report["peers"][1]["name"], "peer-2");
    for network in ["peers.0", "peers.1", "control", "students.int8"] {
        assert!(number(&report, &format!("{network}.accuracy")) > 0.75, "{network}: {report}");
    }
    // The figures of a peer are those of its file.
    for (i, file) in ["o/peer-1.safetensors", "o/peer-2.safetensors"].iter().enumerate() {
        let found = workdir.json(&["validate", file, "--data", "peers.toml"]);
        let [found, wanted] = [
            number(&found, "students.f32.accuracy"),
            number(&report, &format!("peers.{i}.accuracy")),
        ];
        assert_eq!(found.to_bits(), wanted.to_bits());
    }
    // The student and its control began alike; only the student heard its peers.
    assert!(workdir.read("o/student-f32.safetensors") != workdir.read("o/control-f32.safetensors"));
    for role in ["student", "peer-1", "peer-2"] {
        let text = String::from_utf8(workdir.read(&format!("o/metrics-{role}.jsonl"))).unwrap();
        let epochs: Vec<Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(epochs.len(), 8, "{role}");
        // They come to agree.
        let mutual = |epoch: &Value| number(epoch, "terms.mutual");
        assert!(mutual(&epochs[7]) < mutual(&epochs[0]), "{role}: {text}");
    }
    let document = workdir.json(&["distill", "peers.toml", "--out", "o", "--resume"]);
    assert_eq!(document["peers"][0]["accuracy"], report["peers"][0]["accuracy"]);
    assert_eq!(document["gain"], report["gain"]);
}

#[test]
fn plans_and_seeds_show_the_peers() {
    let workdir = workdir();
    let plan = workdir.ok(&["ship", "peers.toml", "--explain"]);
    for text in ["[[distill.peers]]\nnetwork = \"mlp\"\nhidden = [32]\n", "kind = \"mutual\""] {
        assert!(plan.contains(text), "{text:?} in\n{plan}");
    }
    workdir.write("plan.toml", &plan);
    assert_eq!(workdir.ok(&["ship", "plan.toml", "--explain"]), plan);
    let listed = workdir.ok(&["inspect", "peers.toml"]);
    assert!(listed.contains("\npeer-1: network mlp") && listed.contains("\npeer-2: "), "{listed}");
    let document = workdir.json(&["inspect", "peers.toml"]);
    assert_eq!(document["peers"].as_array().map(Vec::len), Some(2));
    let run = workdir.json(&["distill", "peers.toml", "--out", "o", "--seeds", "2"]);
    let lines = run["seeds"]["accuracy"].as_array().unwrap();
    let models: Vec<_> = lines.iter().map(|line| &line["model"]).collect();
    assert_eq!(models, ["peer-1", "peer-2", "control f32", "student f32"]);
    assert!(workdir.path("o/seed-4/peer-2.safetensors").is_file());
    let sweep = ["distill", "peers.toml", "--out", "s", "--sweep", "temperature=1,3"];
    let sweep = workdir.json(&sweep);
    assert_eq!(sweep["runs"].as_array().map(Vec::len), Some(2));
    assert!(number(&sweep, "runs.1.gain.mean").is_finite(), "{sweep}");
}

#[test]
fn a_teacher_may_teach_student_and_peers_alike() {
    let workdir = workdir();
    let loss =
        "distill.loss=[{ kind = \"kd\" }, { kind = \"mutual\" }, { kind = \"cross-entropy\" }]";
    let run = workdir.json(&["distill", "taught.toml", "--out", "o", "--set", loss]);
    assert!(number(&run, "peers.0.agreement") > 0.8, "{run}");
    assert!(number(&run, "student.agreement") > 0.8, "{run}");
    // What the paper's objective makes of the same networks is something else.
    workdir.ok(&["distill", "peers.toml", "--out", "p", "-q"]);
    let student = "student-f32.safetensors";
    assert!(workdir.read(&format!("o/{student}")) != workdir.read(&format!("p/{student}")));
}

#[test]
fn peers_that_cannot_be_are_refused_before_anything_is_trained() {
    let workdir = workdir();
    let refused = |recipe: &str, set: &str| {
        let error = workdir.refused(&["distill", recipe, "--out", "o", "--set", set]);
        assert!(!workdir.path("o/metrics-student.jsonl").exists());
        assert!(!workdir.path("o/teacher.safetensors").exists());
        error
    };
    let ce = "{ kind = \"cross-entropy\" }";
    let mutual = "{ kind = \"mutual\" }";
    for (set, words) in [
        ("distill.peers.0.network=mpl".to_string(), "distill.peers.0: "),
        ("distill.peers.0.layers=[\"relu\"]".into(), "distill.peers.0: needs either network or"),
        ("distill.peers=[{ netwrk = \"mlp\" }]".into(), "did you mean \"network\"?"),
        (
            "distill.peers=[]".into(),
            "distill.loss: mutual learns from peers, and the recipe has none",
        ),
        (format!("distill.loss=[{ce}]"), "distill.peers: no term of distill.loss learns from them"),
        (format!("distill.loss=[{mutual}]"), "distill.loss: without labels peers learn to agree"),
        (
            format!("distill.loss=[{ce}, {mutual}, {{ kind = \"rkd\" }}]"),
            "rkd compares inner values",
        ),
        ("distill.loss.1.temperature=0".into(), "temperature"),
        ("distill.generations=2".into(), "distill.generations: a generation learns from"),
        ("validate.max_drop=2.0".into(), "validate.max_drop: compares with a teacher"),
        ("teacher.file=some.onnx".into(), "teacher: peers learn from one another, and no term"),
    ] {
        let error = refused("peers.toml", &set);
        assert!(error.contains(words), "{set}: {error}");
    }
    let error = refused("taught.toml", "distill.epochs=2");
    assert!(
        error.contains("taught.toml, line 10: teacher: peers learn from one another"),
        "{error}"
    );
    let chain = "teacher.assistants=[{ network = \"mlp\" }]";
    let loss = format!("distill.loss=[{{ kind = \"kd\" }}, {mutual}, {ce}]");
    let args = ["distill", "taught.toml", "--out", "o", "--set", chain, "--set", &loss];
    let error = workdir.refused(&args);
    assert!(error.contains("teacher.assistants.0: an assistant is trained alone"), "{error}");
}

#[test]
fn a_checkpoint_with_other_peers_is_refused() {
    let workdir = workdir();
    let args = ["distill", "peers.toml", "--out", "o", "--set", "distill.control=false"];
    workdir.ok(&[&args[..], &["-q"]].concat());
    let error = workdir
        .refused(&[&args[..], &["--resume", "--set", "distill.peers.0.hidden=[30]"]].concat());
    assert!(error.contains("checkpoints/student.safetensors: belongs to another run"), "{error}");
    assert!(error.contains("it differs in the peers;"), "{error}");
}

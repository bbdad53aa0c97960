//! Text from labelled lines to a label for a line: teacher, student, int8, `predict`.

use hipflask_runtime::{Model, Options, Session};

use crate::util::{Workdir, number, run};

const RECIPE: &str = r#"
name = "topics"
seed = 3

[data]
format = "text"
train = ["train.tsv"]
test = ["test.tsv"]

[data.text]
length = 40

[teacher]
network = "text-encoder"
width = 24
depth = 1
epochs = 5
batch_size = 32
optimizer = { kind = "adam", lr = 5e-3 }
expect_accuracy = 0.9

[student]
network = "text-encoder"
width = 12
depth = 1

[distill]
epochs = 8
batch_size = 32
optimizer = { kind = "adam", lr = 5e-3 }
loss = [
    { kind = "kd", temperature = 2.0, weight = 0.9 },
    { kind = "cross-entropy", weight = 0.1 },
]
control = false

[quantize]
calibration = { samples = 64 }

[bundle]
targets = []
"#;

/// Words that tell topics apart, and words that do not.
const TOPICS: [(&str, [&str; 6]); 3] = [
    ("animals", ["cat", "horse", "owl", "wolf", "fish", "goat"]),
    ("kitchen", ["soup", "pan", "bread", "salt", "oven", "knife"]),
    ("weather", ["rain", "fog", "storm", "cloud", "ice", "wind"]),
];
const OTHERS: [&str; 8] = ["the", "a", "old", "and", "by", "saw", "was", "with"];

/// Lines of a label, a tab and a text of three to six words, of which two tell the topic.
fn lines(count: usize, seed: u64) -> String {
    let mut state = seed;
    let mut below = |n: usize| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % n
    };
    let mut all = String::new();
    for line in 0..count {
        let (topic, words) = TOPICS[line % 3];
        let mut text: Vec<&str> = (0..=below(4)).map(|_| OTHERS[below(8)]).collect();
        for _ in 0..2 {
            text.insert(below(text.len() + 1), words[below(6)]);
        }
        all += &format!("{topic}\t{}\n", text.join(" "));
    }
    all
}

/// A folder with the recipe and its data.
fn workdir() -> Workdir {
    let workdir = Workdir::new();
    workdir.write("topics.toml", RECIPE);
    workdir.write("train.tsv", lines(600, 1));
    workdir.write("test.tsv", lines(150, 2));
    workdir
}

#[test]
fn a_student_of_text_learns_and_answers_line_by_line() {
    let workdir = workdir();
    workdir.ok(&["ship", "topics.toml", "--out", "out", "-q"]);
    let report: serde_json::Value =
        serde_json::from_slice(&workdir.read("out/report.json")).unwrap();
    for format in ["f32", "int8"] {
        let accuracy = number(&report, &format!("students.{format}.accuracy"));
        assert!(accuracy >= 0.9, "{format}: {report}");
    }
    assert!(number(&report, "students.int8.agreement") >= 0.97, "{report}");

    workdir.write("asked.txt", "the fog and the storm\n\nan old goat saw a wolf\n");
    let model = "out/student-int8.safetensors";
    let asked = ["predict", model, "asked.txt", "--text", "salt and soup", "--top", "1"];
    let printed = workdir.ok(&asked);
    let label = |line: usize| printed.lines().nth(line).unwrap().rsplit(' ').next().unwrap();
    assert!(
        printed.starts_with("salt and soup\n") && printed.contains("\nasked.txt:3\n"),
        "{printed}"
    );
    assert_eq!([label(1), label(3), label(5)], ["kitchen", "weather", "animals"]);

    // The device's reader gives the same bits.
    let json = workdir.json(&["predict", model, "asked.txt", "--top", "3"]);
    let model = Model::open(workdir.path(model)).unwrap();
    let mut session = Session::new(&model, &Options::default()).unwrap();
    let shape = session.inputs()[0].shape.to_vec();
    let bytes = workdir.read("asked.txt");
    let inputs = model.preprocess().unwrap().inputs(&bytes, &shape).unwrap();
    for (input, prediction) in inputs.zip(json["predictions"].as_array().unwrap()) {
        let input = input.unwrap();
        assert_eq!(prediction["at"], input.at.unwrap());
        let scores = session.predict(&input.values).unwrap();
        for class in prediction["top"].as_array().unwrap() {
            let index = class["index"].as_u64().unwrap() as usize;
            let score = class["score"].as_f64().unwrap() as f32;
            assert_eq!(score.to_bits(), scores[index].to_bits());
        }
    }

    let mut piped = workdir.command();
    piped.args(["predict", "out/student-int8.safetensors", "-", "--top", "1"]);
    piped.stdin(std::fs::File::open(workdir.path("asked.txt")).unwrap());
    let output = run(&mut piped);
    assert!(output.code == 0 && output.stdout.starts_with("-:1\n"), "{output:?}");

    let refused = workdir.refused(&["ship", "topics.toml", "--set", "student.network=\"ds-cnn\""]);
    assert!(refused.contains("ds-cnn: reads images"), "{refused}");
    let mixed = ["--set", "distill.mix={ kind = \"mixup\" }"];
    let refused = workdir.refused(&[&["ship", "topics.toml"][..], &mixed].concat());
    assert!(refused.contains("distill.mix: there is nothing between two tokens"), "{refused}");
    let wrong = ["--set", "data.train=[\"topics.toml\"]"];
    let refused = workdir.refused(&[&["ship", "topics.toml"][..], &wrong].concat());
    assert!(refused.contains("topics.toml"), "{refused}");
}

#[test]
fn a_model_of_a_tokenizers_file_needs_that_file() {
    let workdir = workdir();
    let words = TOPICS.iter().flat_map(|(_, words)| words).chain(&OTHERS);
    let vocabulary: Vec<String> =
        words.enumerate().map(|(id, word)| format!("\"{word}\": {}", id + 1)).collect();
    let tokenizer = format!(
        r#"{{"version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {{"type": "Whitespace"}}, "post_processor": null,
        "decoder": null, "model": {{"type": "WordLevel", "unk_token": "?",
        "vocab": {{"?": 0, {}}}}}}}"#,
        vocabulary.join(", ")
    );
    workdir.write("words.json", tokenizer);
    let words = ["--set", "data.text.tokenizer=\"words.json\"", "--set", "data.text.length=8"];
    workdir.ok(&[&["teacher", "topics.toml", "--out", "out", "-q"][..], &words].concat());
    let asked =
        ["predict", "out/teacher.safetensors", "--text", "an owl by the fish", "--top", "1"];
    let printed = workdir.ok(&[&asked[..], &["--tokenizer", "words.json"]].concat());
    assert!(printed.trim_end().ends_with(" animals"), "{printed}");
    let refused = workdir.refused(&asked);
    assert!(refused.contains("\"words.json\"") && refused.contains("--tokenizer"), "{refused}");
}

//! Tables and folders of texts, and what becomes of them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;

use hipflask_runtime::input::Preprocess;
use tempfile::TempDir;

use super::*;
use crate::data::{Conversion, DataFormat, DataSet, OnError, Samples};
use crate::{Error, Result};

/// A tokenizer of three words, the third for all others.
const WORDS: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": { "type": "Lowercase" }, "pre_tokenizer": { "type": "Whitespace" },
    "post_processor": null, "decoder": null,
    "model": { "type": "WordLevel", "vocab": { "good": 0, "bad": 1, "?": 4 }, "unk_token": "?" }
}"#;

struct Folder(TempDir);

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        Self(folder)
    }

    fn open(&self, spec: DataSpec) -> Result<DataSet> {
        let places = Places { beside: Some(self.0.path().into()), shared: None };
        DataSet::open(&DataSpec { format: DataFormat::Text, ..spec }, &places, 1)
    }

    fn training(&self, train: &str) -> Result<DataSet> {
        self.open(DataSpec { train: vec![train.into()], ..DataSpec::default() })
    }
}

/// One table of training samples.
fn table(name: &str, content: &str) -> Result<DataSet> {
    Folder::new(&[(name, content.as_bytes())]).training(name)
}

fn texts(data: &DataSet) -> Vec<String> {
    let Samples::Texts(texts) = &data.train.samples else { panic!("no texts") };
    let text = |i| texts.get(i).iter().map(|&byte| byte as u8).collect();
    (0..texts.len()).map(|i| String::from_utf8(text(i)).unwrap()).collect()
}

fn message(result: Result<DataSet>) -> String {
    result.err().as_ref().map(Error::to_string).unwrap()
}

#[test]
fn tables_with_and_without_titles_give_texts_and_classes() {
    for (name, content) in [
        ("a.tsv", "pos\tgood  one\nneg\t\"bad\" one\npos\tß\n"),
        ("a.txt", "label\ttext\r\npos\tgood one\r\n\r\nneg\t\"bad\" one\r\npos\tß"),
        ("a.tsv", "Text\tid\tLABEL\ngood one\t7\tpos\n\"bad\" one\t8\tneg\nß\t9\tpos\n"),
        ("a.csv", "pos,good one\nneg,\"\"\"bad\"\"\n one\"\npos,ß\n"),
    ] {
        let data = table(name, content).unwrap();
        assert_eq!(texts(&data), ["good one", "\"bad\" one", "ß"], "{content:?}");
        assert_eq!(data.class_names, ["neg", "pos"]);
        assert_eq!(data.train.labels, Some(vec![1, 0, 1]));
        // As long as the longest.
        assert_eq!((data.shape().unwrap(), data.vocabulary()), (vec![9], Some(257)));
    }
}

#[test]
fn a_text_without_labels_trains_by_the_teacher_alone() {
    let folder = Folder::new(&[("a.tsv", b"one text\nanother\n")]);
    let labels = vec!["neg".into(), "pos".into()];
    let spec = DataSpec { train: vec!["a.tsv".into()], labels, ..DataSpec::default() };
    let data = folder.open(spec).unwrap();
    assert_eq!((texts(&data).len(), &data.train.labels, data.classes), (2, &None, 2));
}

#[test]
fn a_folder_has_a_folder_a_class() {
    let folder = Folder::new(&[
        ("train/neg/1.txt", b"bad\n\nvery bad"),
        ("train/pos/2.txt", b"good"),
        ("train/pos/notes.md", b"no sample"),
        ("test/neg/4.txt", b"bad, too"),
        ("test/pos/3.txt", b"good, too"),
    ]);
    let names = |name: &str| vec![name.into()];
    let data = folder
        .open(DataSpec { train: names("train"), test: names("test"), ..DataSpec::default() })
        .unwrap();
    assert_eq!(texts(&data), ["bad very bad", "good"]);
    assert_eq!((data.train.labels, data.test.labels), (Some(vec![0, 1]), Some(vec![0, 1])));
    let mixed = Folder::new(&[("t/a/1.txt", b"x"), ("t/2.txt", b"y")]);
    assert!(message(mixed.training("t")).contains("stands in no class's folder"));
}

#[test]
fn the_length_is_the_recipes_or_that_of_the_longest_text() {
    let folder = Folder::new(&[("a.tsv", format!("x\tab\ny\t{}\n", "z".repeat(300)).as_bytes())]);
    assert_eq!(folder.training("a.tsv").unwrap().shape().unwrap(), [256]);
    let text = |length| TextSpec { length: Some(length), ..TextSpec::default() };
    let spec = |length| DataSpec {
        train: vec!["a.tsv".into()],
        text: text(length),
        ..DataSpec::default()
    };
    let data = folder.open(spec(3)).unwrap();
    let batch = data.batches(&data.train, 2).unwrap().next().unwrap();
    assert_eq!(
        (batch.shape, batch.values),
        (vec![2, 3], vec![98.0, 99.0, 0.0, 123.0, 123.0, 123.0])
    );
    assert!(message(folder.open(spec(0))).contains("data.text.length"));
    let batches = |rule| Conversion::new(&data.train.samples, &Preprocess::Text(rule));
    assert_eq!(batches(TextPreprocess::bytes(5)).unwrap().shape(), [5]);
    assert!(batches(TextPreprocess { vocabulary: 9, ..TextPreprocess::bytes(5) }).is_ok());
    assert!(Conversion::new(&data.train.samples, &Preprocess::default()).is_err());
}

#[test]
fn a_tokenizers_file_numbers_the_tokens() {
    let folder = Folder::new(&[
        ("a.tsv", b"x\tGood film\ny\tbad bad good\n"),
        ("words.json", WORDS.as_bytes()),
        ("none.json", b"{}"),
    ]);
    let spec = |file: &str| DataSpec {
        train: vec!["a.tsv".into()],
        text: TextSpec { tokenizer: Some(file.into()), ..TextSpec::default() },
        ..DataSpec::default()
    };
    let data = folder.open(spec("words.json")).unwrap();
    // Numbers up to 4, one more each, and 0.
    assert_eq!((data.vocabulary(), data.shape().unwrap()), (Some(6), vec![3]));
    let batch = data.batches(&data.train, 2).unwrap().next().unwrap();
    assert_eq!(batch.values, [1.0, 5.0, 0.0, 2.0, 2.0, 1.0]);
    let Preprocess::Text(rule) = &data.preprocess else { panic!("{:?}", data.preprocess) };
    assert_eq!(rule.tokenizer.as_ref().unwrap().name, "words.json");
    assert!(rule.check_bytes().is_err());

    let words = TextTokenizer::open(&folder.0.path().join("words.json")).unwrap();
    assert_eq!(words.input(rule, "bad").unwrap(), [2.0, 0.0, 0.0]);
    let error = TextTokenizer::default().input(rule, "bad").unwrap_err().to_string();
    assert!(error.contains("\"words.json\"") && error.contains("not bytes"), "{error}");
    let bytes = Preprocess::Text(TextPreprocess::bytes(4));
    let error = Conversion::new(&data.train.samples, &bytes).err().unwrap().to_string();
    assert!(error.contains("data.text.tokenizer"), "{error}");
    assert!(message(folder.open(spec("none.json"))).contains("is no tokenizer"));
    assert!(TextTokenizer::open(Path::new("nowhere.json")).is_err());
}

#[test]
fn damaged_texts_are_named_or_left_out() {
    let ragged = "pos\tgood\nneg\tbad\tworse\n\tunlabelled\nneg\tbad\n";
    assert!(
        message(table("a.tsv", ragged))
            .contains("a.tsv, line 2: has 3 fields, the first line has 2")
    );
    let folder = Folder::new(&[("a.tsv", ragged.as_bytes())]);
    let spec =
        DataSpec { train: vec!["a.tsv".into()], on_error: OnError::Skip, ..DataSpec::default() };
    let data = folder.open(spec).unwrap();
    assert_eq!((texts(&data), data.skipped.len()), (vec!["good".to_string(), "bad".into()], 2));
    for (name, content, part) in [
        ("a.tsv", &b"1\ta\tb\n"[..], "has 3 columns and no titles"),
        ("a.csv", b"pos,\"good\n", "opens a quote that is not closed"),
        ("a.tsv", b"pos\tgood\nneg\t\xff\n", "is not UTF-8"),
        ("a.tsv", b"", "is empty"),
        ("a.tsv", b"label\ttext\n", "holds no texts"),
        ("t/a/1.txt", b"\xff", "1.txt: is not UTF-8"),
    ] {
        let folder = Folder::new(&[(name, content)]);
        let error = message(folder.training(name.split('/').next().unwrap()));
        assert!(error.contains(part), "{error}");
    }
}

#[test]
fn texts_keep_their_tokens_when_chosen_and_joined() {
    let mut texts = Texts::new(&TextTokenizer::default());
    for text in [&[1, 2, 3][..], &[], &[9]] {
        texts.push(text.iter().copied());
    }
    assert_eq!((texts.len(), texts.longest()), (3, 3));
    let chosen = texts.select(&[2, 0, 1]);
    assert_eq!([chosen.get(0), chosen.get(1), chosen.get(2)], [&[9][..], &[1, 2, 3], &[]]);
    assert_eq!(texts.append(chosen), Ok(()));
    assert_eq!((texts.len(), texts.get(3), texts.get(4)), (6, &[9][..], &[1, 2, 3][..]));
}

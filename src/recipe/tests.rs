//! What a recipe may say, and what is said about one that is wrong.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::path::{Path, PathBuf};

use hipflask_distill::loss::{LossSpec, Temperature};
use hipflask_distill::optim::OptimizerSpec;
use hipflask_distill::trainer::{EarlyStopping, Keep};

use super::{Format, Recipe};

/// What loading `text` under the name `recipe.toml` says, without the folder.
fn error_of(text: &str, sets: &[&str]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, text).unwrap();
    let error = Recipe::load(Some(&path), &texts(sets)).unwrap_err();
    let prefix = format!("{}/", folder.path().display());
    format!("{error:#}").replace(&prefix, "")
}

fn loaded(text: &str, sets: &[&str]) -> Recipe {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("recipe.toml");
    std::fs::write(&path, text).unwrap();
    Recipe::load(Some(&path), &texts(sets)).unwrap()
}

fn texts(sets: &[&str]) -> Vec<String> {
    sets.iter().map(ToString::to_string).collect()
}

#[test]
fn an_unknown_key_is_named_with_its_line_table_and_nearest_key() {
    let text = "name = \"x\"\n\n[distill]\nepoch = 5\n";
    assert_eq!(
        error_of(text, &[]),
        "recipe.toml, line 4: unknown key \"epoch\" in [distill]: did you mean \"epochs\"? (valid: \
         loss, peers, generations, cache_views, cache, cache_precision, view_seed, control, epochs, minutes, batch_size, accumulate, optimizer, schedule, clip_norm, \
         ema, early_stopping, keep, precision, mix)"
    );
    let text = "\n[distil]\nepochs = 5\n";
    assert_eq!(
        error_of(text, &[]),
        "recipe.toml, line 2: unknown key \"distil\" at the top: did you mean \"distill\"? (valid: \
         name, seed, data, teacher, student, distill, qat, quantize, validate, budget, bundle)"
    );
    let error = error_of("[quantize.calibration]\nmethods = \"mse\"\n", &[]);
    assert!(error.starts_with("recipe.toml, line 2: unknown key \"methods\" in [quantize.calibration]: did you mean \"method\"?"), "{error}");
}

#[test]
fn keys_of_optimizers_and_losses_are_found_in_their_lines() {
    let text = "[teacher]\noptimizer = { kind = \"adamw\", learning = 1e-3 }\n";
    let error = error_of(text, &[]);
    assert!(
        error.starts_with("recipe.toml, line 2: unknown key \"learning\" in [teacher.optimizer]"),
        "{error}"
    );
    assert!(error.contains("(valid: lr, betas"), "{error}");
    let text = "[distill]\nloss = [\n  { kind = \"kd\" },\n  { kind = \"cross-entrpy\" },\n]\n";
    let error = error_of(text, &[]);
    assert!(error.contains("\"cross-entrpy\""), "{error}");
    assert!(error.contains("did you mean \"cross-entropy\"?"), "{error}");
    assert!(error.starts_with("recipe.toml, line 4: "), "{error}");
    let error = error_of("[distill]\noptimizer = { lr = 1e-3 }\n", &[]);
    assert!(
        error.starts_with("recipe.toml, line 2: key \"kind\" is missing in [distill.optimizer]"),
        "{error}"
    );
}

#[test]
fn every_kind_of_loss_loads_with_its_defaults_and_survives_explain() {
    let text = "[distill]\nloss = [\n  { kind = \"kd\", temperature = { from = 8, to = 1.0, kind = \
                \"cosine\" } },\n  { kind = \"logit-standardisation\" }, { kind = \"dkd\" }, { kind = \
                \"dist\" },\n  { kind = \"mse\" }, { kind = \"l1\" }, { kind = \"cross-entropy\" },\n  { kind = \
                \"hint\", student = \"relu1\", teacher = \"layer1.0.relu2\" }, { kind = \"crd\" },\n  { kind = \
                \"attention-transfer\" }, { kind = \"rkd\" }, { kind = \"similarity\" },\n]\n";
    let recipe = loaded(text, &[]);
    assert_eq!(recipe.distill.loss.len(), 12);
    let explained = recipe.to_toml().unwrap();
    assert_eq!(loaded(&explained, &[]), recipe, "{explained}");
    for line in ["from = 8.0", "weight = 9.0", "beta = 8.0", "gamma = 1.0", "negatives = 16384"] {
        assert!(explained.contains(line), "{explained} has no {line}");
    }
    let text = "[distill]\nloss = [{ kind = \"kd\", temperature = { form = 8, to = 1 } }]\n";
    let error = error_of(text, &[]);
    assert!(error.starts_with("recipe.toml, line 2: unknown key \"form\""), "{error}");
    assert!(error.contains("did you mean \"from\"?"), "{error}");
}

#[test]
fn a_wrong_type_is_named_with_its_line_and_key() {
    assert_eq!(
        error_of("[distill]\n\nepochs = \"five\"\n", &[]),
        "recipe.toml, line 3: epochs in [distill]: expected another type, found string \"five\", \
         expected a whole number from 0 on"
    );
    let error = error_of("[data]\nformat = \"idx\"\naugment = [\"crop:1\", \"flop\"]\n", &[]);
    assert!(error.starts_with("recipe.toml, line 3: "), "{error}");
    assert!(error.contains("flop") && error.contains("crop:N"), "{error}");
    let error = error_of("[quantize]\nto = [\"int8\", \"int4\"]\n", &[]);
    assert!(error.starts_with("recipe.toml, line 2: unknown value \"int4\""), "{error}");
    let error = error_of("seed = -1\n", &[]);
    assert!(error.starts_with("recipe.toml, line 1: seed at the top: out of range"), "{error}");
}

#[test]
fn text_that_is_no_toml_is_refused_with_its_line() {
    let error = error_of("name = \"x\"\nseed 3\n", &[]);
    assert!(error.starts_with("recipe.toml, line 2: this is not TOML: "), "{error}");
    let error = error_of("[data]\n[data]\n", &[]);
    assert!(error.starts_with("recipe.toml, line 2: "), "{error}");
}

#[test]
fn numbers_out_of_range_are_named_with_their_line() {
    for (text, expected) in [
        ("[distill]\nepochs = 0\n", "line 2: distill.epochs is 0: it must be from 1 to 100000"),
        (
            "[teacher]\nbatch_size = 65537\n",
            "line 2: teacher.batch_size is 65537: it must be from 1",
        ),
        (
            "[validate]\nmin_agreement = 95.0\n",
            "line 2: validate.min_agreement is 95: it must be a fraction from 0 to 1, as 0.95",
        ),
        (
            "[validate]\nmax_drop = -1.0\n",
            "line 2: validate.max_drop is -1: it must be from 0 to 100",
        ),
        (
            "[teacher]\nexpect_accuracy = nan\n",
            "line 2: teacher.expect_accuracy is NaN: it must be a fraction",
        ),
        (
            "[teacher]\nlabel_smoothing = 1.0\n",
            "line 2: teacher.label_smoothing is 1: it must be at least 0",
        ),
        (
            "[quantize]\ncalibration = { samples = 0 }\n",
            "line 2: quantize.calibration.samples is 0",
        ),
        (
            "[quantize]\ngroup_size = 48\n",
            "line 2: quantize.group_size is 48: it must be 32, 64 or 128",
        ),
        ("[distill]\nloss = []\n", "line 2: distill.loss: "),
        ("[distill]\nclip_norm = 0.0\n", "line 2: distill.clip_norm is 0: it must be above 0"),
        (
            "[distill]\nschedule = { kind = \"cosine\", warmup = -1.0 }\n",
            "line 2: distill.schedule: ",
        ),
        ("[teacher.optimizer]\nkind = \"sgd\"\nlr = 0.0\n", "line 1: teacher.optimizer: lr: "),
        (
            "[student]\nnetwork = \"mlp\"\nlayers = [\"relu\"]\n",
            "line 3: [student] has network and layers",
        ),
        (
            "[teacher]\nfile = \"t.onnx\"\n[teacher.data]\nformat = \"idx\"\n",
            "line 3: [teacher] has a file",
        ),
        ("[distill]\ncache_views = 0\n", "line 2: distill.cache_views is 0: it must be from 1"),
        (
            "[data]\naugment = [\"flip\"]\n[distill]\ncache = \"kept\"\n",
            "line 4: distill.cache keeps the teacher's answers to a number of augmented views",
        ),
        ("[bundle]\ntargets = [\"\"]\n", "line 2: bundle.targets"),
        ("[teacher]\nema = 1.0\n", "line 2: teacher.ema: 1 must be at least 0 and below 1"),
        ("[distill]\nminutes = 0.0\n", "line 2: distill.minutes is 0: it must be above 0"),
        ("[distill]\naccumulate = 0\n", "line 2: distill.accumulate is 0: it must be from 1"),
        (
            "[distill]\nkeep = \"best\"\n",
            "line 2: distill.keep goes by the validation accuracy, and no samples are held out",
        ),
        (
            "[data]\nvalidation = 9\n[teacher]\nearly_stopping = { patience = 0 }\n",
            "line 4: teacher.early_stopping: patience must be at least 1",
        ),
        (
            "[teacher]\nearly_stopping = { }\ndata = { validation = 0 }\n[data]\nvalidation = 9",
            "line 2: teacher.early_stopping goes by the validation accuracy",
        ),
    ] {
        let error = error_of(text, &[]);
        assert!(error.starts_with(&format!("recipe.toml, {expected}")), "{text}: {error}");
    }
}

#[test]
fn a_missing_file_is_named() {
    let error = Recipe::load(Some(Path::new("no/such.toml")), &[]).unwrap_err();
    assert!(
        format!("{error:#}").starts_with("no/such.toml: the recipe cannot be read: "),
        "{error:#}"
    );
}

#[test]
fn data_alone_is_a_recipe_until_it_is_to_train() {
    let recipe = loaded("[data]\nformat = \"digits\"\n", &[]);
    assert_eq!(recipe.name, "recipe");
    assert!(recipe.require_student().unwrap_err().to_string().contains("[student]"));
    assert!(recipe.require_teacher().unwrap_err().to_string().contains("[teacher]"));
    assert!(recipe.needs_teacher());
    let labels_only = loaded("[distill]\nloss = [{ kind = \"cross-entropy\" }]\n", &[]);
    assert!(!labels_only.needs_teacher());
}

#[test]
fn sets_override_keys_and_make_tables() {
    let sets = [
        "distill.epochs=3",
        "teacher.optimizer.kind=sgd",
        "teacher.optimizer.lr = 0.1",
        "distill.loss.0.temperature=8.0",
        "student.layers=[\"conv 8 3x3\", \"relu\"]",
        "quantize.to=[\"f16\"]",
        "teacher.data.format=idx",
        "data.root=some/folder",
        "name=other name",
    ];
    let recipe = loaded("[teacher]\nnetwork = \"lenet\"\n", &sets);
    assert_eq!(recipe.distill.epochs, 3);
    let OptimizerSpec::Sgd { lr, momentum, .. } = recipe.teacher.optimizer else {
        panic!("{:?}", recipe.teacher.optimizer)
    };
    // The momentum is the other kind's default.
    assert_eq!((lr, momentum).partial_cmp(&(0.1, 0.9)), Some(std::cmp::Ordering::Equal));
    let eight = Temperature::new(8.0).unwrap().into();
    assert!(
        matches!(recipe.distill.loss[0], LossSpec::Kd { temperature, .. } if temperature == eight)
    );
    assert_eq!(recipe.student.layers, Some(texts(&["conv 8 3x3", "relu"])));
    assert_eq!(recipe.quantize.to, [Format::F16]);
    assert!(recipe.teacher.data.is_some());
    assert_eq!(recipe.data.root, Some(PathBuf::from("some/folder")));
    assert_eq!(recipe.name, "other name");
    assert_eq!(recipe.teacher.network.as_deref(), Some("lenet"));
}

#[test]
fn a_set_of_the_same_kind_keeps_the_other_keys() {
    let text = "[teacher]\noptimizer = { kind = \"sgd\", momentum = 0.5 }\n";
    let recipe = loaded(text, &["teacher.optimizer.kind=sgd"]);
    assert!(
        matches!(recipe.teacher.optimizer, OptimizerSpec::Sgd { momentum, .. } if momentum < 0.6)
    );
}

#[test]
fn a_wrong_set_is_named_with_the_nearest_key() {
    for (set, expected) in [
        (
            "distill.epoch=3",
            "--set distill.epoch=3: unknown key \"epoch\" in [distill]: did you mean \"epochs\"?",
        ),
        (
            "distll.epochs=3",
            "--set distll.epochs=3: unknown key \"distll\" at the top: did you mean \"distill\"?",
        ),
        (
            "distill.epochs=many",
            "--set distill.epochs=many: epochs in [distill]: expected another type, found string \"many\"",
        ),
        (
            "distill.epochs=0",
            "--set distill.epochs=0: distill.epochs is 0: it must be from 1 to 100000",
        ),
        ("distill.epochs", "--set distill.epochs: write KEY=VALUE"),
        ("=3", "--set =3: write KEY=VALUE"),
        ("a..b=3", "--set a..b=3: write KEY=VALUE"),
        ("seed.x=3", "--set seed.x=3: \"x\" is asked of 42, which has no keys"),
        (
            "distill.loss.7.weight=1",
            "--set distill.loss.7.weight=1: \"7\" is no place in a list of 2",
        ),
        (
            "distill.optimizer.kind=adamx",
            "--set distill.optimizer.kind=adamx: unknown value \"adamx\"",
        ),
        (
            "distill.optimizer.lrr=1",
            "--set distill.optimizer.lrr=1: unknown key \"lrr\" in [distill.optimizer]: did you mean \"lr\"?",
        ),
    ] {
        let error = error_of("", &[set]);
        assert!(error.starts_with(expected), "{error}\nexpected {expected}");
    }
}

#[test]
fn teacher_and_student_are_trained_by_the_same_keys() {
    let keys = "epochs = 7\nminutes = 1.5\nbatch_size = 8\naccumulate = 4\nclip_norm = 2.0\n\
                ema = 0.99\nearly_stopping = { patience = 3, min_delta = 0.01 }\nkeep = \"best\"\n\
                precision = \"bf16\"\n\
                optimizer = { kind = \"sgd\", nesterov = true, decay_all = false }\n\
                schedule = { kind = \"one-cycle\" }\n";
    let text = format!("[data]\nvalidation = 99\n[teacher]\n{keys}[distill]\n{keys}");
    let recipe = loaded(&text, &[]);
    let teacher = recipe.teacher.training(Vec::new());
    assert_eq!(teacher, recipe.distill.training(Vec::new()));
    assert_eq!((teacher.epochs, teacher.accumulate, teacher.keep), (7, 4, Keep::Best));
    let stopping = EarlyStopping { patience: 3, min_delta: 0.01 };
    assert_eq!(
        (teacher.minutes, teacher.ema, teacher.early_stopping),
        (Some(1.5), Some(0.99), Some(stopping))
    );
}

#[test]
fn the_explained_recipe_loads_back_as_the_same() {
    let sets = texts(&["teacher.data.format=idx", "validate.max_drop=1.5", "data.validation=9"]);
    for recipe in [Recipe::digits().unwrap(), Recipe::load(None, &sets).unwrap()] {
        let text = recipe.to_toml().unwrap();
        assert_eq!(loaded(&text, &[]), recipe, "{text}");
        assert!(
            text.contains("samples = 512") && text.contains("targets = [\"native\"]"),
            "{text}"
        );
    }
    let bare = Recipe::default();
    assert_eq!(toml::from_str::<Recipe>(&bare.to_toml().unwrap()).unwrap(), bare);
}

#[test]
fn every_example_loads_and_survives_explain() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut recipes = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let recipe = Recipe::load(Some(&path), &[]).unwrap();
            recipe.require_student().unwrap();
            if recipe.distill.peers.is_empty() {
                recipe.require_teacher().unwrap();
            }
            assert_eq!(loaded(&recipe.to_toml().unwrap(), &[]), recipe, "{}", path.display());
            recipes += 1;
        }
    }
    assert!(recipes >= 4, "{recipes}");
}

#[test]
fn the_digits_recipe_says_who_teaches_and_who_learns() {
    let recipe = Recipe::digits().unwrap();
    recipe.require_teacher().unwrap();
    recipe.require_student().unwrap();
    assert_eq!((recipe.name.as_str(), recipe.distill.control), ("digits", true));
}

#[test]
fn files_are_looked_for_beside_the_recipe() {
    let beside = |path| Recipe::places(Some(Path::new(path))).beside;
    assert_eq!(beside("a/b.toml"), Some(PathBuf::from("a")));
    assert_eq!(beside("b.toml"), Some(PathBuf::from(".")));
    assert_eq!(Recipe::places(None).beside, Some(".".into()));
}

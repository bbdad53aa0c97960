//! Input that cannot be used: one paragraph that says what, where and what to do, and exit code 2.

use std::fs::File;
use std::time::Instant;

use crate::runs::{SMALL, copy_of_small, small};
use crate::util::{Workdir, idx, idx_images, idx_labels, run, skipped};

/// A folder with 40 images of 8×8 and their labels, and a recipe for them.
fn with_files() -> Workdir {
    let workdir = Workdir::new();
    workdir.write("images", idx_images(40, 8));
    workdir.write("labels", idx_labels(40));
    let data =
        "format = \"idx\"\ntrain = [\"images\", \"labels\"]\ntest = [\"images\", \"labels\"]";
    workdir.write("files.toml", SMALL.replace("limit = 300", data));
    workdir
}

/// What `distill files.toml` says after `change` to its folder.
fn refused(change: impl FnOnce(&Workdir)) -> String {
    let workdir = with_files();
    change(&workdir);
    workdir.refused(&["distill", "files.toml", "--out", "out"])
}

#[track_caller]
fn assert_says(error: &str, parts: &[&str]) {
    for part in parts {
        assert!(error.contains(part), "{part:?} is not in: {error}");
    }
}

#[test]
fn data_files_that_are_missing_or_broken_are_named() {
    let error = refused(|workdir| std::fs::remove_file(workdir.path("labels")).unwrap());
    assert_says(&error, &["error: labels: not found; looked for ", "data.root"]);
    let error = refused(|workdir| workdir.write("images", &idx_images(40, 8)[..2000]));
    let promise = "the header promises 40 images of 8×8 (2560 bytes), the file holds 1984";
    assert_says(&error, &["images: ", promise, "cut short; download it again"]);
    let error = refused(|workdir| workdir.write("images", &idx_images(40, 8)[..9]));
    assert_says(&error, &["images: ends within its header"]);
    let error = refused(|workdir| workdir.write("labels", idx_labels(39)));
    assert_says(&error, &["labels: has 39 labels, ", "images has 40 images"]);
    let error = refused(|workdir| workdir.write("labels", idx_images(40, 8)));
    assert_says(&error, &["labels: holds images where labels are needed", "then the labels"]);
    let error = refused(|workdir| workdir.write("images", "P5 8 8 255"));
    assert_says(&error, &["images: begins with 50 35 20 38: no IDX file"]);
    let error = refused(|workdir| workdir.write("images", idx(&[u32::MAX as usize; 3], &[0; 64])));
    assert_says(&error, &["images: the header asks for 4294967295×", "damaged"]);
    let error = refused(|workdir| {
        std::fs::remove_file(workdir.path("images")).unwrap();
        std::fs::create_dir(workdir.path("images")).unwrap();
    });
    assert_says(&error, &["error: images: not found"]);
}

#[test]
fn a_typo_in_a_recipe_is_named_with_its_line_and_the_nearest_key() {
    let workdir = Workdir::new();
    let typo = SMALL.replacen("epochs = 8", "epoch = 8", 1);
    let line = typo.lines().position(|line| line.starts_with("epoch =")).unwrap() + 1;
    workdir.write("typo.toml", &typo);
    let error = workdir.refused(&["ship", "typo.toml"]);
    assert_says(
        &error,
        &[&format!("typo.toml, line {line}: "), "unknown key \"epoch\" in [distill]"],
    );
    assert_says(&error, &["did you mean \"epochs\"?"]);
    workdir.write("torn.toml", "name = \"x\"\n[data\n");
    assert_says(&workdir.refused(&["ship", "torn.toml"]), &["torn.toml, line 2: this is not TOML"]);
    workdir.write("small.toml", SMALL);
    let set = |text: &str| workdir.refused(&["distill", "small.toml", "--set", text]);
    let error = set("distill.optimiser.lr=1");
    assert_says(&error, &["--set distill.optimiser.lr=1: ", "did you mean \"optimizer\"?"]);
    assert_says(&set("distill.epochs=0"), &["--set distill.epochs=0: ", "from 1 to"]);
    assert_says(&set("epochs"), &["--set epochs", "="]);
    let error = workdir.refused(&["ship", "none.toml"]);
    assert_says(&error, &["none.toml: the recipe cannot be read"]);
    assert!(!workdir.path("out").exists(), "a wrong recipe made a folder");
    let error = set("student.network=\"mpl\"");
    assert_says(&error, &["[student]", "\"mpl\" is not known", "did you mean \"mlp\"?", "lenet"]);
}

#[test]
fn a_student_of_another_input_shape_is_refused() {
    let workdir = copy_of_small();
    let student = "out/student-f32.safetensors";
    let resized = ["--data", "small.toml", "--set", "data.resize=[12, 10]"];
    for command in ["validate", "quantize", "bundle"] {
        let error = workdir.refused(&[&[command, student], &resized[..]].concat());
        assert_says(&error, &[student, "8×8", "10×12"]);
    }
    let error =
        workdir.refused(&["distill", "small.toml", "--set", "student.layers=[\"conv 4 9x9\"]"]);
    assert_says(&error, &["student"]);
    let deep = "student.file=\"out/student-f32.safetensors\"";
    let args = ["distill", "small.toml", "--out", "o", "--set", "data.resize=[12, 10]"];
    let error = workdir.refused(&[&args[..], &["--set", deep]].concat());
    assert_says(&error, &["student-f32.safetensors", "fc1.weight"]);
}

#[test]
fn a_corrupted_model_file_is_refused_by_every_command() {
    let workdir = copy_of_small();
    let whole = workdir.read("out/student-int8.safetensors");
    let header = u64::from_le_bytes(*whole.first_chunk().unwrap()) as usize;
    let flipped = |place: usize| {
        let mut bytes = whole.clone();
        bytes[place] ^= 0x40;
        bytes
    };
    let mut state = 1_u32;
    let random = (0..whole.len()).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    });
    let broken = [
        Vec::new(),
        whole[..5].to_vec(),
        whole[..header / 2].to_vec(),
        whole[..8 + header].to_vec(),
        whole[..whole.len() - 1].to_vec(),
        [&whole[..], b"x"].concat(),
        flipped(7),
        flipped(8),
        flipped(9),
        random.collect(),
    ];
    workdir.write("image.raw", [0; 64]);
    for (i, bytes) in broken.iter().enumerate() {
        workdir.write("m.safetensors", bytes);
        for args in [
            &["inspect", "m.safetensors"][..],
            &["predict", "m.safetensors", "image.raw"],
            &["bench", "m.safetensors"],
            &["validate", "m.safetensors"],
            &["quantize", "m.safetensors"],
            &["bundle", "m.safetensors", "--out", "board"],
            &["distill", "small.toml", "--teacher", "m.safetensors", "--out", "o"],
        ] {
            let error = workdir.refused(args);
            assert!(error.contains("m.safetensors: "), "case {i}: {args:?}: {error}");
        }
    }
    assert!(!workdir.path("board").exists());
}

/// A run that grows from step to step until it overflows, several epochs after the first.
fn diverging() -> Workdir {
    let workdir = Workdir::new();
    let recipe = SMALL.replace("epochs = 8", "epochs = 300\nloss = [{ kind = \"mse\" }]");
    let at = recipe.find("[distill]").unwrap();
    let (head, tail) = recipe.split_at(at);
    let sgd = tail.replace("kind = \"adam\", lr = 1e-2", "kind = \"sgd\", lr = 1.0");
    let linear = head.replace("hidden = [16]", "hidden = []");
    workdir.write("grows.toml", linear + &sgd);
    workdir
}

#[test]
fn a_loss_that_is_not_a_number_stops_training_at_a_named_step() {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    let args = ["distill", "small.toml", "--out", "out", "--set", "distill.optimizer.lr=1e30"];
    let error = workdir.refused(&args);
    assert_says(&error, &["small: student: ", " at epoch 1, step ", " of 10: training stopped"]);
    assert_says(&error, &["a lower optimizer.lr (now 1e30)", "clip_norm"]);
    assert!(!workdir.path("out/student-f32.safetensors").exists());
}

#[test]
fn the_last_good_checkpoint_of_a_run_that_diverged_is_kept() {
    let workdir = diverging();
    let args = ["distill", "grows.toml", "--out", "out"];
    let error = workdir.refused(&args);
    let kept = "the last good checkpoint is kept in out/checkpoints/student.safetensors";
    assert_says(&error, &["small: student: ", kept]);
    assert!(!error.contains(" at epoch 1,"), "{error}");
    let checkpoint = workdir.read("out/checkpoints/student.safetensors");
    // Going on from it comes to the same end at the same step.
    assert_eq!(workdir.refused(&[&args[..], &["--resume"]].concat()), error);
    assert!(workdir.read("out/checkpoints/student.safetensors") == checkpoint);
}

#[test]
fn devices_that_are_not_there_are_named_with_the_choices() {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    let with = |device: &str| workdir.refused(&["distill", "small.toml", "--device", device]);
    assert_says(&with("gpu"), &["device \"gpu\": use cpu, cuda, cuda:N, metal or auto"]);
    if cfg!(not(feature = "cuda")) {
        assert_says(&with("cuda"), &["device \"cuda\"", "--features cuda", "--device cpu"]);
    }
    if cfg!(not(feature = "metal")) {
        assert_says(&with("metal"), &["device \"metal\"", "--features metal"]);
    }
}

#[test]
fn an_unknown_instruction_set_is_refused_before_anything_is_trained() {
    let workdir = copy_of_small();
    for args in [
        &["ship", "small.toml", "--out", "new"][..],
        &["distill", "small.toml", "--out", "new"],
        &["validate", "out/student-int8.safetensors"],
        &["bench", "out/student-int8.safetensors"],
    ] {
        let output = run(workdir.command().args(args).env("HIPFLASK_ISA", "sse9"));
        assert_eq!((output.code, output.stdout.as_str()), (2, ""), "{output:?}");
        let expected =
            "error: HIPFLASK_ISA: there is no instruction set \"sse9\"; available here: ";
        assert!(output.stderr.starts_with(expected), "{output:?}");
    }
    assert!(!workdir.path("new").exists());
}

#[test]
fn a_teacher_that_cannot_teach_is_refused() {
    let workdir = copy_of_small();
    let with =
        |args: &[&str]| workdir.refused(&[&["distill", "small.toml", "--out", "o"], args].concat());
    let error = with(&["--teacher", "none.safetensors"]);
    assert_says(&error, &["--teacher none.safetensors: ", "no such file"]);
    let error = with(&["--set", "teacher.file=\"none.pth\""]);
    assert_says(&error, &["teacher.file: none.pth is not there; looked for ./none.pth"]);
    let error = with(&["--teacher", "small.toml"]);
    assert_says(&error, &["small.toml: is no kind of file that teachers come in: .onnx"]);
    assert_says(&with(&["--set", "teacher.expect_accuracy=0.999"]), &["teacher mlp: ", "99.90 %"]);
    let args = ["--teacher", "out/teacher.safetensors", "--set", "teacher.range=[5.0, 6.0]"];
    assert_says(
        &with(&args),
        &["teacher teacher.safetensors: ", "% accuracy on 360 test samples", "range = [0.0, 1.0]"],
    );
    let teacher = workdir.path("out/teacher.safetensors").display().to_string();
    let fewer = with_files();
    fewer.write("labels", idx(&[40], &[0, 1, 2, 3].repeat(10)));
    let error = fewer.refused(&["distill", "files.toml", "--teacher", &teacher]);
    let parts = ["teacher.safetensors: tells 10 classes apart, the data set has 4"];
    assert_says(&error, &parts);
}

#[test]
fn unlabelled_data_and_an_objective_with_labels_do_not_go_together() {
    let workdir = with_files();
    let teacher = small().path("out/teacher.safetensors").display().to_string();
    let args = ["distill", "files.toml", "--out", "out", "--teacher", &teacher];
    let sets = ["--set", "data.train=[\"images\"]", "--set", "teacher.expect_accuracy=0.0"];
    let error = workdir.refused(&[&args[..], &sets].concat());
    assert_says(&error, &["student: the objective needs labels", "data.train", "kd, mse or dist"]);
    let kd = ["--set", "distill.loss=[{ kind = \"kd\" }]"];
    let error = workdir.refused(&[&args[..], &sets, &kd].concat());
    assert_says(&error, &["distill.control: ", "control = false"]);
    let done = ["--set", "distill.control=false", "-q"];
    workdir.ok(&[&args[..], &sets, &kd, &done].concat());
}

#[test]
fn a_folder_that_another_process_writes_is_left_alone() {
    let workdir = copy_of_small();
    let lock = File::create(workdir.path("out/.lock")).unwrap();
    lock.lock().unwrap();
    for command in ["ship", "distill", "teacher"] {
        let start = Instant::now();
        let error = workdir.refused(&[command, "small.toml", "--out", "out"]);
        assert_says(&error, &["error: out: another run is writing", "--out"]);
        assert!(start.elapsed().as_secs() < 10, "it waited");
    }
    lock.unlock().unwrap();
    workdir.ok(&["teacher", "small.toml", "--out", "out", "-q"]);
}

#[test]
fn results_that_cannot_be_written_are_named() {
    let workdir = copy_of_small();
    let to = |out: &str| workdir.refused(&["ship", "small.toml", "--out", out]);
    assert_says(&to("small.toml"), &["error: small.toml: is a file", "--out"]);
    assert_says(&to("small.toml/out"), &["error: small.toml/out: the folder cannot be made"]);
    let student = "out/student-f32.safetensors";
    let error = workdir.refused(&["quantize", student, "--to", "f16", "--out", "small.toml"]);
    assert_says(&error, &["small.toml/student-f16.safetensors: cannot be written"]);
    let error = workdir.refused(&["validate", student, "--samples", "5", "--out", "out"]);
    assert_says(&error, &["error: out: cannot be written: "]);

    let closed = workdir.path("closed");
    std::fs::create_dir(&closed).unwrap();
    let mut rights = std::fs::metadata(&closed).unwrap().permissions();
    rights.set_readonly(true);
    std::fs::set_permissions(&closed, rights).unwrap();
    if File::create(closed.join("probe")).is_ok() {
        return skipped("results_that_cannot_be_written_are_named", "this user may write anywhere");
    }
    assert_says(&to("closed"), &["error: closed: the folder cannot be written to"]);
    assert_says(&to("closed/out"), &["error: closed/out: the folder cannot be made"]);
}

#[test]
fn a_folder_where_a_file_is_expected_is_named() {
    let workdir = copy_of_small();
    let student = "out/student-int8.safetensors";
    for args in [
        &["inspect", "out"][..],
        &["bench", "out"],
        &["predict", student, "out"],
        &["validate", "out"],
        &["validate", student, "--teacher", "out"],
        &["validate", student, "--data", "out"],
        &["quantize", "out"],
        &["bundle", student, "--golden", "out", "--out", "board"],
        &["ship", "out"],
        &["distill", "small.toml", "--teacher", "out", "--out", "o"],
    ] {
        let error = workdir.refused(args);
        assert!(error.contains("out: "), "{args:?}: {error}");
    }
}

//! Runs of `ship` whose files several tests read: made once, by the first that asks.

use std::sync::OnceLock;

use crate::util::{Workdir, run};

/// A run of a tenth of a second that has everything but a bundle; its teacher reaches 90 %.
pub(crate) const SMALL: &str = r#"
name = "small"
seed = 3

[data]
limit = 300
mean = [0.2874]
std = [0.3540]

[teacher]
network = "mlp"
hidden = [32]
epochs = 5
batch_size = 32
optimizer = { kind = "adam", lr = 1e-2 }

[student]
network = "mlp"
hidden = [16]

[distill]
epochs = 8
batch_size = 32
optimizer = { kind = "adam", lr = 1e-2 }
control = true

[quantize]
calibration = { samples = 100 }

[bundle]
targets = []
"#;

/// `ship small.toml --out out`.
pub(crate) fn small() -> &'static Workdir {
    static RUN: OnceLock<Workdir> = OnceLock::new();
    RUN.get_or_init(|| {
        let workdir = Workdir::shared("small");
        workdir.write("small.toml", SMALL);
        workdir.ok(&["ship", "small.toml", "--out", "out", "-q"]);
        workdir
    })
}

/// A new folder with the recipe `small.toml` and the files of its run in `out`.
pub(crate) fn copy_of_small() -> Workdir {
    let workdir = Workdir::new();
    workdir.write("small.toml", SMALL);
    for (name, bytes) in crate::util::files(&small().path("out")) {
        let path = workdir.path("out").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    workdir
}

/// `ship --out out/digits`, as a user types it, on the best instruction set; stdout is in `stdout`.
pub(crate) fn digits() -> &'static Workdir {
    static RUN: OnceLock<Workdir> = OnceLock::new();
    RUN.get_or_init(|| {
        let workdir = Workdir::shared("digits");
        let mut command = workdir.command();
        let output = run(command.args(["ship", "--out", "out/digits"]).env_remove("HIPFLASK_ISA"));
        assert_eq!(output.code, 0, "{output:?}");
        workdir.write("stdout", &output.stdout);
        workdir
    })
}

//! `include/hipflask.h` is what the sources say.
//!
//! `cargo test -p hipflask-capi --test header -- --ignored` writes it anew.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::path::{Path, PathBuf};

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn header() -> PathBuf {
    folder().join("include/hipflask.h")
}

/// The header by cbindgen. It is given the files themselves: to find them in a crate it would ask
/// cargo, which may want the network.
fn made() -> String {
    let config = cbindgen::Config::from_file(folder().join("cbindgen.toml")).unwrap();
    let files = ["model", "session", "status"].map(|name| folder().join(format!("src/{name}.rs")));
    let builder = cbindgen::Builder::new().with_config(config);
    let builder = files.iter().fold(builder, cbindgen::Builder::with_src);
    let mut bytes = Vec::new();
    builder.generate().unwrap().write(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

#[test]
fn the_header_is_what_the_sources_say() {
    let (kept, made) = (std::fs::read_to_string(header()).unwrap(), made());
    let differs = kept.lines().zip(made.lines()).position(|(kept, made)| kept != made);
    let line = differs.unwrap_or(kept.lines().count().min(made.lines().count()));
    let at = |text: &str| text.lines().nth(line).unwrap_or("(its end)").to_string();
    assert!(
        kept == made,
        "include/hipflask.h:{}: {:?}, the sources say {:?}: cargo test -p hipflask-capi --test header -- \
         --ignored writes it anew",
        line + 1,
        at(&kept),
        at(&made)
    );
}

#[test]
#[ignore = "writes the header anew"]
fn write_the_header() {
    std::fs::write(header(), made()).unwrap();
}

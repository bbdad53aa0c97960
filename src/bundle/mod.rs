//! Bundles: everything that a board or a page needs, with its own proof, as one folder or archive.

mod build;
pub mod device;
mod pack;
mod readme;
mod signature;
pub mod sums;
pub mod target;
mod tools;
mod unpack;

use std::path::Path;

use anyhow::{Context, Result};
use hipflask_runtime::Model;

pub use device::Device;
pub use pack::{is_archive, write_folder};
pub use tools::on_path;

/// Name of the model in a bundle.
pub const MODEL: &str = "model.safetensors";
/// Name of the golden samples in a bundle.
pub const GOLDEN: &str = "golden.safetensors";
/// Name of the checksums in a bundle.
pub const SUMS: &str = "SHA256SUMS";
/// Name of the checksums' signature in a bundle.
pub const SIGNATURE: &str = "SHA256SUMS.sig";

/// What a page needs beside the module: what loads it, and a page that verifies and times it.
const PAGE: [(&str, &str); 3] = [
    ("hipflask.js", include_str!("browser/hipflask.js")),
    ("index.html", include_str!("browser/index.html")),
    ("verify.mjs", include_str!("browser/verify.mjs")),
];

/// The files of a bundle, the checksums last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// Its files.
    pub files: Vec<File>,
}

/// A file of a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its name, without a folder.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
    /// Whether it is a program.
    pub executable: bool,
}

impl Bundle {
    /// The bundle of what runs on the device, the model file `model` and its `golden` samples.
    pub fn new(device: &Device, model: &Path, golden: &[u8]) -> Result<Self> {
        let opened = Model::open(model)?;
        let labels = opened.card().labels.join("\n") + "\n";
        let browser = device.target.is_some_and(target::Target::is_browser);
        let mut files = vec![File {
            name: device.name().into(),
            bytes: read(&device.path)?,
            executable: !browser,
        }];
        let mut add = |name: &str, bytes: Vec<u8>| {
            files.push(File { name: name.into(), bytes, executable: false });
        };
        add(MODEL, read(model)?);
        add(GOLDEN, golden.to_vec());
        add("labels.txt", labels.into_bytes());
        add("README.txt", readme::text(&opened, device).into_bytes());
        if browser {
            for (name, text) in PAGE {
                add(name, text.as_bytes().to_vec());
            }
        }
        let sums = sums::of(&files);
        files.push(File { name: SUMS.into(), bytes: sums.into_bytes(), executable: false });
        Ok(Self { files })
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes.len() as u64).sum()
    }

    /// Writes it: `.tar.gz` and `.tgz` are archives, everything else is a folder.
    pub fn write(&self, out: &Path) -> Result<()> {
        if is_archive(out) { pack::archive(self, out) } else { write_folder(self, out) }
    }
}

/// The bytes of a file.
fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("{}: cannot be read", path.display()))
}

//! The `[data]` table of a recipe.

use std::path::{Path, PathBuf};

use hipflask_runtime::input::ImagePreprocess;
use serde::{Deserialize, Serialize};

use super::audio::AudioSpec;
use super::augment::Augment;
use super::text::TextSpec;
use super::{ArraySpec, TableSpec};
use crate::{Error, ErrorKind, Result};

/// Where samples come from and how they become the network's input.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DataSpec {
    /// Kind of files.
    pub format: DataFormat,
    /// Folder of the files, looked for beside the recipe, then in the shared data folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Files of the training samples: for IDX the images and then, where there are any, the labels;
    /// for all other formats any number of files.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<PathBuf>,
    /// Files of the test samples, as `train`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<PathBuf>,
    /// Training samples left out at the beginning of `train`.
    #[serde(skip_serializing_if = "is_zero")]
    pub skip: usize,
    /// Further sources, whose samples follow.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub more: Vec<SourceSpec>,
    /// Whether a damaged picture, row or sample ends the run or is left out.
    #[serde(skip_serializing_if = "OnError::is_refuse")]
    pub on_error: OnError,
    /// Channels to which images are brought when they are read: 1 (grey) or 3; theirs without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Most MiB of pixels of a folder's pictures that are held; beyond that the files are, and are decoded
    /// batch by batch.
    #[serde(skip_serializing_if = "is_default_memory")]
    pub memory_mib: usize,
    /// Size `[h, w]` to which images are scaled when they are read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize: Option<[usize; 2]>,
    /// What bytes 0 and 255 become.
    pub range: [f32; 2],
    /// Subtracted after that; one number, or one a channel.
    pub mean: Vec<f32>,
    /// Divisor after that; one number, or one a channel.
    pub std: Vec<f32>,
    /// Random changes to training images, in this order.
    pub augment: Vec<Augment>,
    /// Share of each class that is set apart from the training files as test samples, where there are
    /// no files of test samples.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_fraction: Option<f64>,
    /// Training samples held out, chosen at random under the recipe's seed.
    pub validation: usize,
    /// Whether each class has its share of the samples held out.
    #[serde(skip_serializing_if = "is_false")]
    pub stratify: bool,
    /// Whether samples of rarer classes are repeated until all classes are equally frequent in training.
    #[serde(skip_serializing_if = "is_false")]
    pub oversample: bool,
    /// Most training samples used, chosen at random under the recipe's seed; all without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How sounds become features.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub audio: Option<AudioSpec>,
    /// Class names; "0", "1", … without them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<String>,
    /// What the columns of a table are.
    #[serde(skip_serializing_if = "TableSpec::is_default")]
    pub table: TableSpec,
    /// How arrays are read.
    #[serde(skip_serializing_if = "ArraySpec::is_default")]
    pub array: ArraySpec,
    /// How texts are read.
    #[serde(skip_serializing_if = "TextSpec::is_default")]
    pub text: TextSpec,
}

/// Kinds of data files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum DataFormat {
    /// Handwritten digits of 8×8 pixels that are built in.
    #[default]
    Digits,
    /// IDX files of MNIST and its kin, plain or gzip.
    Idx,
    /// CIFAR-10's binary files, plain or gzip.
    Cifar,
    /// CIFAR-100's binary files with their 100 fine classes.
    #[serde(rename = "cifar-100")]
    Cifar100,
    /// CIFAR-100's binary files with their 20 coarse classes.
    #[serde(rename = "cifar-100-coarse")]
    Cifar100Coarse,
    /// Pictures (JPEG, PNG) in one folder a class, in a folder, a tar or a tar.gz.
    Folder,
    /// Tables with a comma between the fields, plain or gzip.
    Csv,
    /// Tables with a tabulator between the fields, plain or gzip.
    Tsv,
    /// numpy's arrays (`.npy`, `.npz`): the samples and then, where there are any, the labels.
    Npy,
    /// As `npy`, of safetensors.
    Safetensors,
    /// Sounds (WAV) in one folder a class, or with the class in their names, in a folder, a tar or a
    /// tar.gz.
    Wav,
    /// Labelled texts: tables (TSV, CSV, plain or gzip), or `.txt` files in one folder a class, in a
    /// folder, a tar or a tar.gz.
    Text,
}

/// One of several sources of samples.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SourceSpec {
    /// Kind of files.
    pub format: DataFormat,
    /// Folder of the files; that of `[data]` without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root: Option<PathBuf>,
    /// Files of the training samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub train: Vec<PathBuf>,
    /// Files of the test samples.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub test: Vec<PathBuf>,
    /// Training samples left out at the beginning of `train`.
    #[serde(skip_serializing_if = "is_zero")]
    pub skip: usize,
}

/// What a damaged sample does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// It ends the run.
    #[default]
    Refuse,
    /// It is left out, and counted.
    Skip,
}

impl OnError {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
    fn is_refuse(&self) -> bool {
        *self == Self::Refuse
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Of a machine with 8 GiB a quarter.
const MEMORY_MIB: usize = 2048;

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_default_memory(mib: &usize) -> bool {
    *mib == MEMORY_MIB
}

impl Default for DataSpec {
    fn default() -> Self {
        let ImagePreprocess { range, mean, std } = ImagePreprocess::default();
        Self {
            format: DataFormat::default(),
            root: None,
            train: Vec::new(),
            test: Vec::new(),
            skip: 0,
            more: Vec::new(),
            on_error: OnError::default(),
            channels: None,
            memory_mib: MEMORY_MIB,
            resize: None,
            range,
            mean,
            std,
            augment: Vec::new(),
            test_fraction: None,
            validation: 0,
            stratify: false,
            oversample: false,
            limit: None,
            audio: None,
            labels: Vec::new(),
            table: TableSpec::default(),
            array: ArraySpec::default(),
            text: TextSpec::default(),
        }
    }
}

impl DataSpec {
    /// How the bytes of images become the network's input.
    pub fn image_preprocess(&self) -> ImagePreprocess {
        ImagePreprocess { range: self.range, mean: self.mean.clone(), std: self.std.clone() }
    }

    /// One table a source: this one without `more`, then each of those.
    pub(super) fn sources(&self) -> Vec<Self> {
        let first = Self { more: Vec::new(), ..self.clone() };
        let further = self.more.iter().map(|source| {
            let SourceSpec { format, root, train, test, skip } = source.clone();
            let root = root.or_else(|| first.root.clone());
            Self { format, root, train, test, skip, ..first.clone() }
        });
        std::iter::once(first.clone()).chain(further).collect()
    }

    /// A short name of the data set: its folders', or `digits`.
    pub fn name(&self) -> String {
        if self.format == DataFormat::Digits {
            return "digits".into();
        }
        let folder = |file: &PathBuf| {
            let path = self.root.as_deref().unwrap_or(Path::new("")).join(file);
            let name = path.parent().and_then(Path::file_name).or(path.file_stem());
            name.unwrap_or_default().to_string_lossy().into_owned()
        };
        match (self.train.first().map(folder), self.test.first().map(folder)) {
            (Some(train), Some(test)) if train != test => format!("{train}, tested on {test}"),
            (train, test) => train.or(test).unwrap_or_default(),
        }
    }

    /// The file `name` of this data set: the first place of `places` that has it.
    pub(super) fn locate(&self, name: &Path, places: &Places) -> Result<PathBuf> {
        self.first(name, places, |path| path.is_file().then(|| path.into()))
    }

    /// The folder or archive `name` of this data set as [`DataSpec::locate`] does, and the path within
    /// the archive where `name` goes on there (`photos.tar.gz/train`).
    pub(super) fn locate_tree(&self, name: &Path, places: &Places) -> Result<(PathBuf, String)> {
        self.first(name, places, |path| {
            if path.exists() {
                return Some((path.into(), String::new()));
            }
            let archive = path.ancestors().skip(1).find(|path| path.is_file())?;
            let inner: Vec<_> = path.strip_prefix(archive).ok()?.iter().collect();
            let inner: Vec<_> = inner.iter().map(|part| part.to_string_lossy()).collect();
            Some((archive.into(), inner.join("/")))
        })
    }

    fn first<T>(
        &self,
        name: &Path,
        places: &Places,
        found: impl Fn(&Path) -> Option<T>,
    ) -> Result<T> {
        let relative = self.root.as_deref().unwrap_or(Path::new("")).join(name);
        let candidates = [&places.beside, &places.shared].into_iter().flatten();
        let candidates: Vec<PathBuf> = candidates.map(|folder| folder.join(&relative)).collect();
        if let Some(found) = candidates.iter().find_map(|path| found(path)) {
            return Ok(found);
        }
        let mut tried: Vec<String> = candidates.iter().map(|p| p.display().to_string()).collect();
        tried.dedup();
        let hint = match &places.shared {
            Some(_) => "correct data.root and the file's name",
            None => "correct data.root, or set HIPFLASK_DATA to the folder of your data sets",
        };
        let message = format!("not found; looked for {}: {hint}", tried.join(", then "));
        Err(Error::new(ErrorKind::Data, name.display().to_string(), message))
    }
}

/// Folders in which data files are looked for, in this order.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// The recipe's own folder.
    pub beside: Option<PathBuf>,
    /// The folder of all data sets (`$HIPFLASK_DATA`).
    pub shared: Option<PathBuf>,
}

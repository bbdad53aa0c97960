//! How raw samples become the network's input: as the recipe says, and by what training samples show.

use hipflask_runtime::input::{ImagePreprocess, Preprocess};

use super::{DataSpec, Samples, array, audio, table, text};
use crate::{Error, ErrorKind, Result};

/// The preprocessing for samples like `training`, which are the training samples and no others.
pub(super) fn preprocess(training: &Samples, spec: &DataSpec) -> Result<Preprocess> {
    if spec.audio.is_some() && !matches!(training, Samples::Waves(_)) {
        let what = format!("is for sounds, the data are {}", training.describe());
        return Err(Error::new(ErrorKind::Data, "data.audio", what));
    }
    Ok(match training {
        Samples::Images { .. } | Samples::Pictures(_) => {
            only_for_values(spec)?;
            Preprocess::Image(spec.image_preprocess())
        }
        Samples::Values { shape, values } => {
            Preprocess::Values(array::preprocess(shape, values, spec)?)
        }
        Samples::Waves(waves) => {
            let spec = spec.audio.clone().unwrap_or_default();
            Preprocess::Audio(audio::standardised(&spec, waves)?)
        }
        Samples::Texts(texts) => Preprocess::Text(text::preprocess(texts, &spec.text)?),
        Samples::Rows(rows) => {
            only_for_others(spec)?;
            Preprocess::Table(table::preprocess(rows, spec)?)
        }
    })
}

/// Refuses what does nothing for images.
fn only_for_values(spec: &DataSpec) -> Result<()> {
    if !spec.array.standardise {
        return Ok(());
    }
    let what = "is for values, the data are images: give their mean and std in [data]";
    Err(Error::new(ErrorKind::Data, "data.array.standardise", what))
}

/// Refuses what does nothing for tables.
fn only_for_others(spec: &DataSpec) -> Result<()> {
    let key = if spec.image_preprocess() != ImagePreprocess::default() {
        "data: range, mean and std"
    } else if !spec.augment.is_empty() {
        "data.augment"
    } else {
        return Ok(());
    };
    let what = "not for tables, whose numbers are standardised by the training rows: leave it out";
    Err(Error::new(ErrorKind::Data, key, what))
}

//! What a format does to each layer of a float network, on samples that chose nothing.

use anyhow::{Result, bail};
use hipflask_distill::data::{DataSet, Split};
use hipflask_quantize::recover::sensitivity;
use hipflask_quantize::{Calibration, prepare, report};
use hipflask_runtime::format::ModelFile;
use hipflask_runtime::graph::Layout;
use hipflask_runtime::input::Preprocess;

use super::convert::Int8;
use super::portions::{HELD, Portions};
use super::samples::{Samples, spread};
use crate::recipe::Recipe;
use crate::report::layers::Layers;

/// Samples that the layers are measured on.
const REPORTED: usize = 256;

/// Those of an int8 graph that was made now, on `held` samples; with what each layer costs alone.
pub fn of_made(made: &Int8, held: &Split, preprocess: &Preprocess) -> Result<Layers> {
    let Int8 { float, calibration, int8 } = made;
    let chosen = chosen(held);
    let samples = Samples::new(&chosen, preprocess)?;
    let alone = sensitivity(float, calibration, &samples, &|| true)?;
    let layers = report(float, int8, calibration, &alone, &samples)?;
    Ok(Layers { samples: samples.len(), layers })
}

/// Those of the file `second`, made of the float student `first`, on the held samples of the recipe's
/// data: the same that `quantize --report` takes. Each file comes with its name.
pub fn of_files(
    first: (&ModelFile, &str),
    second: (&ModelFile, &str),
    recipe: &Recipe,
    data: &DataSet,
) -> Result<Layers> {
    let ((float, name), (other, other_name)) = (first, second);
    if float.graph.layout != Layout::Nchw {
        bail!(
            "{name}: it is already converted: give the f32 student first, then what was made of it"
        );
    }
    if let (Some(one), Some(two)) = (&float.preprocess, &other.preprocess)
        && one != two
    {
        bail!(
            "{name} and {other_name}: they preprocess their samples differently: nothing to compare"
        );
    }
    let preprocess = float.preprocess.as_ref().unwrap_or(&data.preprocess);
    let portions = Portions::of(data, recipe.quantize.calibration.samples, Some(HELD), None);
    let chosen = chosen(&portions.held);
    let samples = Samples::new(&chosen, preprocess)?;
    samples.fits(&float.graph, name)?;
    samples.fits(&other.graph, other_name)?;
    // How its ranges were chosen is not in a file.
    let unknown = Calibration { ranges: Vec::new(), methods: Vec::new(), samples: 0 };
    let layers = report(&prepare(&float.graph)?, &other.graph, &unknown, &[], &samples)?;
    Ok(Layers { samples: samples.len(), layers })
}

fn chosen(held: &Split) -> Split {
    held.select(&spread(held.len(), REPORTED))
}

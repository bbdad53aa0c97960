//! From the trained f32 student to the formats of boards.

use anyhow::{Context, Result, bail};
use hipflask_quantize::{self as quantize, Method, prepare, to_f16, to_int8, to_weight_only};
use hipflask_runtime::graph::Graph;
use hipflask_runtime::groups::Groups;
use hipflask_runtime::input::Preprocess;

use super::portions::Portions;
use super::samples::Samples;
use crate::recipe::Format;

/// How int8 finds its ranges.
pub struct Calibration<'a> {
    /// Real samples.
    pub samples: Samples<'a>,
    /// Others, by which a method is chosen.
    pub held: Samples<'a>,
    /// How a range is chosen.
    pub method: Method,
}

impl<'a> Calibration<'a> {
    /// With the samples of `portions`, preprocessed as `preprocess` says.
    pub fn new(portions: &'a Portions, preprocess: &Preprocess, method: Method) -> Result<Self> {
        Ok(Self {
            samples: Samples::new(&portions.calibration, preprocess)?,
            held: Samples::new(&portions.held, preprocess)?,
            method,
        })
    }

    /// An error where there are no samples.
    pub fn check(&self) -> Result<()> {
        if self.samples.is_empty() {
            bail!(
                "calibration: no samples were given: int8 finds its ranges on training samples: \
                 name files in data.train"
            );
        }
        Ok(())
    }
}

/// An int8 graph and what it was made of.
pub struct Int8 {
    /// The prepared float graph.
    pub float: Graph,
    /// Its ranges.
    pub calibration: quantize::Calibration,
    /// The int8 graph.
    pub int8: Graph,
}

/// `student` in int8.
pub fn int8(student: &Graph, calibration: &Calibration<'_>) -> Result<Int8> {
    calibration.check()?;
    let float = prepare(student)?;
    let Calibration { samples, held, method } = calibration;
    let calibration = quantize::calibrate(&float, *method, samples, held)?;
    let int8 = to_int8(&float, &calibration)?;
    Ok(Int8 { float, calibration, int8 })
}

/// `student` in `format`: only int8 needs the calibration, only w8 and w4 have groups of a size.
pub fn convert(
    student: &Graph,
    format: Format,
    calibration: &Calibration<'_>,
    group_size: usize,
) -> Result<Graph> {
    match format {
        Format::Int8 => Ok(int8(student, calibration)?.int8),
        _ => without_samples(student, format, group_size),
    }
}

/// `student` in a `format` that is found in the weights alone; int8 is none and is refused.
pub fn without_samples(student: &Graph, format: Format, group_size: usize) -> Result<Graph> {
    let in_groups = |bits| to_weight_only(student, Groups { bits, size: group_size });
    let made = match format {
        Format::F16 => to_f16(student),
        Format::W8 => in_groups(8),
        Format::W4 => in_groups(4),
        Format::Int8 => bail!("int8 needs samples"),
    };
    made.with_context(|| format.name())
}

//! From the trained f32 student to f16 and int8.

use anyhow::{Context, Result, bail};
use hipflask_quantize::{Calibration as Ranges, Calibrator, Method, prepare, to_f16, to_int8};
use hipflask_runtime::graph::Graph;

use super::samples::Samples;
use crate::recipe::Format;

/// How int8 finds its ranges.
pub struct Calibration<'a> {
    /// Real samples.
    pub samples: Samples<'a>,
    /// How many of them, spread evenly.
    pub count: usize,
    /// How a range is chosen.
    pub method: Method,
}

/// `student` in `format`; `f16` needs no calibration.
pub fn convert(student: &Graph, format: Format, calibration: &Calibration<'_>) -> Result<Graph> {
    match format {
        Format::F16 => to_f16(student).context("f16"),
        Format::Int8 => {
            let prepared = prepare(student)?;
            Ok(to_int8(&prepared, &calibrate(&prepared, calibration)?)?)
        }
    }
}

/// The ranges of the values of `prepared`, a student made ready for int8.
pub fn calibrate(prepared: &Graph, calibration: &Calibration<'_>) -> Result<Ranges> {
    if calibration.samples.is_empty() {
        bail!(
            "calibration: no samples were given: int8 finds its ranges on training samples: name \
             files in data.train"
        );
    }
    let mut calibrator = Calibrator::new(prepared, calibration.method)?;
    for index in calibration.samples.spread(calibration.count) {
        calibrator.observe(&calibration.samples.get(index))?;
    }
    Ok(calibrator.finish()?)
}

//! What int8 does to each layer, as a table.

use std::io::{Result, Write};

use hipflask_quantize::{LayerReport, Method, Range};
use serde::Serialize;

/// The layers of a student, and on how many samples they were measured.
#[derive(Clone, Debug, Serialize)]
pub struct Layers {
    /// Number of samples.
    pub samples: usize,
    /// In execution order.
    pub layers: Vec<LayerReport>,
}

/// A line a layer.
pub fn write(Layers { samples, layers }: &Layers, out: &mut dyn Write) -> Result<()> {
    let names = layers.iter().map(|layer| layer.layer.chars().count());
    let width = names.max().unwrap_or(0).max("layer".len());
    writeln!(
        out,
        "{:<width$}  {:<18}{:<6}{:>24}{:>24}{:>11}{:>10}{:>10}  method",
        "layer", "operation", "type", "range", "covered", "clipped", "SQNR dB", "alone dB"
    )?;
    for layer in layers {
        let interval = |range: Range| format!("{:.4} … {:.4}", range.min, range.max);
        let decibels = |v: Option<f64>| v.map_or("-".into(), |v| format!("{v:.1}"));
        writeln!(
            out,
            "{:<width$}  {:<18}{:<6}{:>24}{:>24}{:>9.4} %{:>10}{:>10}  {}",
            layer.layer,
            layer.op,
            layer.precision,
            interval(layer.range),
            layer.covered.map_or("-".into(), interval),
            layer.clipped * 100.0,
            decibels(layer.sqnr_db),
            decibels(layer.alone_db),
            layer.method.map_or("-", Method::name)
        )?;
    }
    writeln!(
        out,
        "\nOn {samples} samples. SQNR: of the layer's output, those before it in int8 too; alone: of the \
         network's answers with only this layer in int8 (docs/quantization.md)."
    )
}

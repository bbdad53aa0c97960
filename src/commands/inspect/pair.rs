//! Two models side by side, layers matched by name.

use std::io::{Result, Write};

use super::table::totals;
use super::{Inspection, Layer};
use crate::report::layers;

/// Writes the layers of both in one table, and the totals with their ratio.
pub(super) fn write(first: &Inspection, second: &Inspection, out: &mut dyn Write) -> Result<()> {
    writeln!(out, "A  {}: network {}", first.file, first.network)?;
    writeln!(out, "B  {}: network {}\n", second.file, second.network)?;
    let rows = matched(&first.layers, &second.layers);
    let names = rows.iter().map(|row| row.name().chars().count());
    let width = names.max().unwrap_or(0).max("scratch bytes".len());
    writeln!(
        out,
        "{:<width$}  {:<22}{:<22}{:<7}{:<5}{:>12}{:>12}{:>12}{:>12}",
        "layer", "operation A", "B", "type A", "B", "bytes A", "B", "MACs A", "B"
    )?;
    for row in &rows {
        let text = |layer: Option<&Layer>, of: fn(&Layer) -> String| layer.map_or("-".into(), of);
        let operation = |layer| text(layer, Layer::operation);
        let dtype = |layer| text(layer, |l| l.dtype.to_string());
        let bytes = |layer| text(layer, |l| l.weight_bytes.to_string());
        let macs = |layer| text(layer, |l| l.macs.to_string());
        let (a, b) = (row.first, row.second);
        writeln!(
            out,
            "{:<width$}  {:<22}{:<22}{:<7}{:<5}{:>12}{:>12}{:>12}{:>12}",
            row.name(),
            operation(a),
            operation(b),
            dtype(a),
            dtype(b),
            bytes(a),
            bytes(b),
            macs(a),
            macs(b)
        )?;
    }
    writeln!(out, "\n{:<width$}  {:>14}{:>14}{:>9}", "total", "A", "B", "B / A")?;
    for ((name, a), (_, b)) in totals(first).into_iter().zip(totals(second)) {
        let ratio = if a == 0 { "-".into() } else { format!("{:.3}", b as f64 / a as f64) };
        writeln!(out, "{name:<width$}  {a:>14}{b:>14}{ratio:>9}")?;
    }
    if let Some(quantization) = &second.quantization {
        writeln!(out, "\nWhat B does to the layers of A:\n")?;
        layers::write(quantization, out)?;
    }
    Ok(())
}

/// A layer of either model, or the layers of that name in both.
struct Row<'a> {
    first: Option<&'a Layer>,
    second: Option<&'a Layer>,
}

impl Row<'_> {
    fn name(&self) -> &str {
        self.first.or(self.second).map_or("", |layer| &layer.name)
    }
}

/// Rows in the order of both models; a layer that moved to another place counts as two.
fn matched<'a>(first: &'a [Layer], second: &'a [Layer]) -> Vec<Row<'a>> {
    let mut rows = Vec::with_capacity(first.len());
    let mut rest = second;
    for a in first {
        let found = rest.iter().position(|b| b.name == a.name);
        if let Some(index) = found {
            let only_second = rest.iter().take(index);
            rows.extend(only_second.map(|b| Row { first: None, second: Some(b) }));
            rows.push(Row { first: Some(a), second: Some(&rest[index]) });
            rest = &rest[index + 1..];
        } else {
            rows.push(Row { first: Some(a), second: None });
        }
    }
    rows.extend(rest.iter().map(|b| Row { first: None, second: Some(b) }));
    rows
}

#[cfg(test)]
mod tests {
    use hipflask_runtime::DType;

    use super::{Layer, matched};

    fn layers(names: &[&str]) -> Vec<Layer> {
        let layer = |name: &&str| Layer {
            name: (*name).into(),
            op: "linear",
            activation: None,
            shape: [1, 1].into(),
            dtype: DType::F32,
            weights: None,
            groups: None,
            macs: 1,
            weight_bytes: 4,
            scale: None,
            zero_point: None,
        };
        names.iter().map(layer).collect()
    }

    #[test]
    fn layers_are_matched_by_name_in_the_order_of_both() {
        let (a, b) = (layers(&["conv", "bn", "fc"]), layers(&["quantize", "conv", "fc", "end"]));
        let pairs: Vec<_> = matched(&a, &b)
            .iter()
            .map(|row| (row.name().to_string(), row.first.is_some(), row.second.is_some()))
            .collect();
        let expected = [
            ("quantize", false, true),
            ("conv", true, true),
            ("bn", true, false),
            ("fc", true, true),
            ("end", false, true),
        ];
        assert_eq!(pairs, expected.map(|(name, a, b)| (name.to_string(), a, b)));
    }
}

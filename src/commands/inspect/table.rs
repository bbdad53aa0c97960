//! One model as a table for people.

use std::io::{Result, Write};

use hipflask_runtime::format::Card;
use hipflask_runtime::{PlannedStep, Shape};

use super::Inspection;

/// Writes layers, plan, totals and card.
pub(super) fn write(model: &Inspection, out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "{}: network {}, {} to {}\n",
        model.file,
        model.network,
        shapes(&model.input),
        shapes(&model.output)
    )?;
    let names = model.layers.iter().map(|layer| layer.name.chars().count());
    let width = names.max().unwrap_or(0).max("layer".len());
    writeln!(
        out,
        "{:<width$}  {:<22}{:<18}{:<6}{:<8}{:>12}{:>12}{:>13}{:>7}",
        "layer", "operation", "output", "type", "weights", "MACs", "bytes", "scale", "zero"
    )?;
    for layer in &model.layers {
        writeln!(
            out,
            "{:<width$}  {:<22}{:<18}{:<6}{:<8}{:>12}{:>12}{:>13}{:>7}",
            layer.name,
            layer.operation(),
            layer.shape.to_string(),
            layer.dtype,
            layer.weights(),
            layer.macs,
            layer.weight_bytes,
            layer.scale.map_or("-".into(), |scale| format!("{scale:.4e}")),
            layer.zero_point.map_or("-".into(), |zero| zero.to_string()),
        )?;
    }
    writeln!(out)?;
    plan(&model.plan, width, out)?;
    writeln!(out)?;
    for (name, value) in totals(model) {
        writeln!(out, "{name:<14}{value:>14}")?;
    }
    writeln!(out, "{:<14}{:>14}", "kernels", model.isa)?;
    card(&model.card, out)
}

/// How each step is computed, what it moves, where its output lies, and how much of the arena is needed
/// meanwhile.
fn plan(steps: &[PlannedStep], width: usize, out: &mut dyn Write) -> Result<()> {
    writeln!(
        out,
        "{:<width$}  {:<28}{:>12}{:>14}{:>12}{:>12}{:>12}{:>10}",
        "step", "kernel", "bytes read", "written", "arena from", "to", "alive", "scratch"
    )?;
    for step in steps {
        writeln!(
            out,
            "{:<width$}  {:<28}{:>12}{:>14}{:>12}{:>12}{:>12}{:>10}",
            step.name,
            step.kernel,
            step.bytes_read,
            step.bytes_written,
            step.offset,
            step.offset + step.bytes,
            step.alive_bytes,
            step.scratch_bytes
        )?;
    }
    Ok(())
}

/// Name and value of each total.
pub(super) fn totals(model: &Inspection) -> [(&'static str, u64); 7] {
    [
        ("parameters", model.parameters as u64),
        ("MACs", model.macs),
        ("weight bytes", model.weight_bytes as u64),
        ("file bytes", model.file_bytes),
        ("arena bytes", model.arena_bytes as u64),
        ("scratch bytes", model.scratch_bytes as u64),
        ("memory bytes", model.memory_bytes as u64),
    ]
}

fn shapes(shapes: &[Shape]) -> String {
    shapes.iter().map(Shape::to_string).collect::<Vec<_>>().join(", ")
}

fn card(card: &Card, out: &mut dyn Write) -> Result<()> {
    let labels = card.labels.join(", ");
    let facts = [
        ("task", &card.task),
        ("data set", &card.dataset),
        ("labels", &labels),
        ("licence", &card.licence),
    ];
    for (name, text) in facts.into_iter().filter(|(_, text)| !text.is_empty()) {
        writeln!(out, "{name:<14}{text}")?;
    }
    if let Some(teacher) = &card.teacher {
        let fingerprint: String = teacher.fingerprint.chars().take(16).collect();
        writeln!(out, "{:<14}{} (SHA-256 {fingerprint}…)", "teacher", teacher.name)?;
    }
    for (name, value) in &card.metrics {
        writeln!(out, "{name:<14}{value:>14.4}")?;
    }
    Ok(())
}

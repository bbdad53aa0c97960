//! The report as a table for people.

use std::io::{Result, Write};

use hipflask_distill::evaluate::Scores;

use super::model::{Gate, ModelReport, Report, TeacherReport};
use super::training::TrainingReport;

/// Writes the whole report.
pub fn write(report: &Report, out: &mut dyn Write) -> Result<()> {
    let data = &report.data;
    writeln!(
        out,
        "{}: {}; {} test samples, {} for training\n",
        report.name, data.name, data.test, data.train
    )?;
    writeln!(
        out,
        "{:<14}{:>20}{:>9}{:>11}{:>9}{:>12}{:>10}{:>10}",
        "model", "accuracy (95 %)", "top-5", "agreement", "KL", "bytes", "p50 µs", "p99 µs"
    )?;
    if let Some(teacher) = &report.teacher {
        line(out, "teacher", &teacher.scores, None)?;
        for (i, member) in teacher.members.iter().enumerate() {
            line(out, &format!("  member {}", i + 1), &member.scores, None)?;
        }
    }
    let others = || report.chain.iter().chain(&report.peers);
    for network in others() {
        line(out, &network.name, &network.scores, None)?;
    }
    if let Some(control) = &report.control {
        line(out, "control f32", &control.scores, Some(control))?;
    }
    for (name, student) in report.students.each() {
        line(out, &format!("student {name}"), &student.scores, Some(student))?;
    }
    let mut trained = vec![("teacher", report.teacher.as_ref().and_then(|t| t.training.as_ref()))];
    trained.extend(others().map(|network| (network.name.as_str(), network.training.as_ref())));
    trained.extend([
        ("control", report.control.as_ref().and_then(|c| c.training.as_ref())),
        ("student", report.students.f32.as_ref().and_then(|s| s.training.as_ref())),
        ("int8", report.students.int8.as_ref().and_then(|s| s.training.as_ref())),
    ]);
    if trained.iter().any(|(_, training)| training.is_some()) {
        writeln!(out)?;
    }
    for (name, training) in trained.into_iter().filter_map(|(n, t)| Some((n, t?))) {
        writeln!(out, "{name} training: {training}")?;
    }
    if let Some(converted) = &report.students.converted {
        writeln!(out)?;
        accuracy(out, "int8 by conversion alone", converted)?;
    }
    if let Some(gain) = report.gain {
        let points = gain * 100.0;
        writeln!(
            out,
            "\nDistillation's gain over the same student trained on labels only: {points:+.2} points"
        )?;
    }
    per_class(report, out)?;
    if let Some(seeds) = &report.seeds {
        writeln!(out)?;
        seeds.write(out)?;
    }
    if !report.gates.is_empty() {
        writeln!(out)?;
    }
    gates(&report.gates, out)
}

/// A line a gate.
pub fn gates(gates: &[Gate], out: &mut dyn Write) -> Result<()> {
    for gate in gates {
        writeln!(out, "{} {}", if gate.passed { "passed:" } else { "FAILED:" }, gate.text)?;
    }
    Ok(())
}

/// One model's accuracy with its interval and number of samples, and what is known of its teacher.
pub fn accuracy(out: &mut dyn Write, name: &str, scores: &Scores) -> Result<()> {
    let mut line = format!("{name}: ");
    match (scores.accuracy, scores.accuracy_interval) {
        (Some(accuracy), Some([low, high])) => {
            let [accuracy, low, high] = [accuracy, low, high].map(|v| v * 100.0);
            line += &format!("{accuracy:.2} % accuracy (95 %: {low:.1}-{high:.1})");
        }
        _ => line += "no labels to score against",
    }
    if let Some(agreement) = scores.agreement {
        line += &format!(", {:.2} % agreement with the teacher", agreement * 100.0);
    }
    writeln!(out, "{line}, {} test samples", scores.samples)
}

/// A teacher's accuracy as `name`, then its members' or how it was trained.
pub fn teacher(out: &mut dyn Write, name: &str, report: &TeacherReport) -> Result<()> {
    accuracy(out, name, &report.scores)?;
    for member in &report.members {
        let name = format!("  {}, weight {}", member.name, member.weight);
        accuracy(out, &name, &member.scores)?;
    }
    training(out, report.training.as_ref())
}

/// How a network was trained, where it was.
pub fn training(out: &mut dyn Write, training: Option<&TrainingReport>) -> Result<()> {
    match training {
        Some(training) => writeln!(out, "  trained for {training}"),
        None => Ok(()),
    }
}

fn line(
    out: &mut dyn Write,
    name: &str,
    scores: &Scores,
    model: Option<&ModelReport>,
) -> Result<()> {
    let percent = |v: Option<f64>| v.map_or("-".into(), |v| format!("{:.2} %", v * 100.0));
    let accuracy = match (scores.accuracy, scores.accuracy_interval) {
        (Some(a), Some([low, high])) => {
            format!("{:.2} % ({:.1}-{:.1})", a * 100.0, low * 100.0, high * 100.0)
        }
        (a, _) => percent(a),
    };
    let number = |v: Option<f64>, digits: usize| v.map_or("-".into(), |v| format!("{v:.digits$}"));
    writeln!(
        out,
        "{name:<14}{accuracy:>20}{:>9}{:>11}{:>9}{:>12}{:>10}{:>10}",
        percent(scores.top5),
        percent(scores.agreement),
        number(scores.kl, 4),
        model.map_or("-".into(), |m| m.bytes.to_string()),
        number(model.map(|m| m.latency_us.p50), 1),
        number(model.map(|m| m.latency_us.p99), 1),
    )
}

/// Accuracy on each class, teacher beside student; only where there are labels and few classes.
fn per_class(report: &Report, out: &mut dyn Write) -> Result<()> {
    let Some((format, student)) = report.students.smallest() else { return Ok(()) };
    let classes = &student.scores.per_class;
    if classes.is_empty() || classes.len() > 20 {
        return Ok(());
    }
    let teacher = report.teacher.as_ref().map(|t| &t.scores.per_class);
    writeln!(out, "\nAccuracy by class{:>11}{:>10}{:>10}", "samples", "teacher", format)?;
    for score in classes {
        let percent = |v: Option<f64>| v.map_or("-".into(), |v| format!("{:.1} %", v * 100.0));
        let of_teacher = teacher.and_then(|t| t.get(score.class)).and_then(|c| c.accuracy);
        let name = report.data.classes.get(score.class).map_or("?", String::as_str);
        writeln!(
            out,
            "  {name:<15.15}{:>11}{:>10}{:>10}",
            score.samples,
            percent(of_teacher),
            percent(score.accuracy)
        )?;
    }
    Ok(())
}

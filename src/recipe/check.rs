//! Ranges and contradictions that the types of a recipe allow.

use std::ops::RangeInclusive;

use hipflask_distill::data::DataFormat;
use hipflask_distill::loss::{LossSpec, WeightedSum};
use hipflask_distill::trainer::TrainSpec;
use hipflask_runtime::groups::Groups;

use super::Recipe;
use super::parse::Problem;
use super::schema::QatTable;

pub(super) type Checked = Result<(), Problem>;

/// Fails with the first key that is out of range or contradicts another.
pub(super) fn check(recipe: &Recipe) -> Checked {
    let Recipe { data, teacher, student, distill, qat, quantize, validate, bundle, .. } = recipe;
    let held_out = data.validation > 0;
    let of_teacher = teacher.data.as_ref().map_or(held_out, |own| own.validation > 0);
    training("teacher", &teacher.training(Vec::new()), of_teacher)?;
    training("distill", &distill.training(Vec::new()), held_out)?;
    if let Some(qat) = qat {
        training("qat", &qat.training(Vec::new()), held_out)?;
        objective_of_qat(qat)?;
    }

    let network = |table: &str, network: &Option<String>, layers: &Option<Vec<String>>| {
        if network.is_some() && layers.is_some() {
            let message = format!("[{table}] has network and layers: keep one of them");
            return Err(Problem::at(&format!("{table}.layers"), message));
        }
        Ok(())
    };
    network("teacher", &teacher.network, &teacher.layers)?;
    network("student", &student.network, &student.layers)?;
    if student.size_budget.is_some() && student.width.is_some() {
        let message =
            "[student] has width and size_budget, which chooses the width: keep one of them";
        return Err(Problem::at("student.size_budget", message));
    }
    if teacher.file.is_some() && teacher.data.is_some() {
        let message = "[teacher] has a file and a table data: a teacher from a file is not trained";
        return Err(Problem::at("teacher.data", message));
    }
    if !(0.0..1.0).contains(&teacher.label_smoothing) {
        return out_of_range(
            "teacher.label_smoothing",
            teacher.label_smoothing,
            "at least 0 and below 1",
        );
    }
    fraction("teacher.expect_accuracy", teacher.expect_accuracy)?;
    teacher.check_ensemble()?;

    let objective = WeightedSum::new(&distill.loss)
        .map_err(|error| Problem::at("distill.loss", format!("distill.loss: {error}")))?;

    super::peers::check(recipe, &objective)?;
    super::teachers::check_chain(recipe, held_out)?;

    inner_values(recipe, &objective)?;
    mixtures(recipe)?;

    if let Some(views) = distill.cache_views {
        within("distill.cache_views", views, 1..=100_000)?;
    } else if distill.cache.is_some() && !recipe.data.augment.is_empty() {
        let message = "distill.cache keeps the teacher's answers to a number of augmented views: say how \
                       many with cache_views";
        return Err(Problem::at("distill.cache", message));
    }

    if quantize.calibration.samples == 0 {
        return out_of_range("quantize.calibration.samples", 0, "at least 1");
    }
    if !Groups::SIZES.contains(&quantize.group_size) {
        return out_of_range("quantize.group_size", quantize.group_size, "32, 64 or 128");
    }
    if validate.max_drop.is_some_and(|drop| !(0.0..=100.0).contains(&drop)) {
        let message = "from 0 to 100 percentage points";
        return out_of_range("validate.max_drop", validate.max_drop.unwrap_or_default(), message);
    }
    fraction("validate.min_agreement", validate.min_agreement)?;
    within("validate.golden", validate.golden, 1..=10_000)?;
    if bundle.targets.iter().any(|target| target.trim().is_empty()) {
        let message = "bundle.targets has an empty name: write \"native\" or a target triple";
        return Err(Problem::at("bundle.targets", message));
    }
    Ok(())
}

/// What quantization-aware training cannot minimise.
fn objective_of_qat(qat: &QatTable) -> Checked {
    let Some(loss) = &qat.loss else { return Ok(()) };
    let wrong = |message: String| Problem::at("qat.loss", format!("qat.loss: {message}"));
    let objective = WeightedSum::new(loss).map_err(|error| wrong(error.to_string()))?;
    let refused = objective.needs_features().or(objective.needs_peers().then_some("mutual"));
    match refused {
        Some(name) => {
            let message =
                format!("{name} is no loss of the student's and the teacher's logits alone");
            Err(wrong(message))
        }
        None => Ok(()),
    }
}

/// What losses of inner values cannot be beside.
fn inner_values(recipe: &Recipe, objective: &WeightedSum) -> Checked {
    let Some(name) = objective.needs_features() else { return Ok(()) };
    let distill = &recipe.distill;
    let kept = [("cache_views", distill.cache_views.is_some()), ("cache", distill.cache.is_some())];
    let Some((key, _)) = kept.iter().find(|(_, set)| *set) else { return Ok(()) };
    let path = format!("distill.{key}");
    let message = format!(
        "{path} keeps the teacher's logits, and {name} compares inner values, which are not kept: \
         leave {key} out; the teacher is then asked for every batch"
    );
    Err(Problem::at(&path, message))
}

/// What cannot be learnt from mixtures.
fn mixtures(recipe: &Recipe) -> Checked {
    let Recipe { data, teacher, distill, .. } = recipe;
    for (path, mix) in [("teacher.mix", teacher.mix), ("distill.mix", distill.mix)] {
        if mix.is_some() && data.format == DataFormat::Text {
            let message = format!("{path}: there is nothing between two tokens: leave mix out");
            return Err(Problem::at(path, message));
        }
    }
    let contrasts = distill.loss.iter().any(|loss| matches!(loss, LossSpec::Crd { .. }));
    if distill.mix.is_some() && contrasts {
        let message = "distill.mix: crd remembers single samples and cannot be trained on mixtures: \
                       leave crd or mix out";
        return Err(Problem::at("distill.mix", message));
    }
    Ok(())
}

pub(super) fn training(table: &str, spec: &TrainSpec, held_out: bool) -> Checked {
    within(&format!("{table}.epochs"), spec.epochs, 1..=100_000)?;
    within(&format!("{table}.batch_size"), spec.batch_size, 1..=65_536)?;
    within(&format!("{table}.accumulate"), spec.accumulate, 1..=65_536)?;
    for (key, limit) in [("clip_norm", spec.clip_norm), ("minutes", spec.minutes)] {
        if let Some(limit) = limit.filter(|limit| !(limit.is_finite() && *limit > 0.0)) {
            let wanted = "above 0; leave it out for no limit";
            return out_of_range(&format!("{table}.{key}"), limit, wanted);
        }
    }
    let at = |key: &str| {
        let path = format!("{table}.{key}");
        move |error: hipflask_distill::Error| Problem::at(&path, format!("{path}: {error}"))
    };
    spec.optimizer.check().map_err(at("optimizer"))?;
    spec.schedule.check().map_err(at("schedule"))?;
    spec.check().map_err(|error| {
        Problem::at(&format!("{table}.{}", error.at()), format!("{table}.{error}"))
    })?;
    match spec.needs_validation() {
        Some(key) if !held_out => {
            let path = format!("{table}.{key}");
            let message = format!(
                "{path} goes by the validation accuracy, and no samples are held out for it: set \
                 data.validation to their number (the test samples are never used for that)"
            );
            Err(Problem::at(&path, message))
        }
        _ => Ok(()),
    }
}

pub(super) fn within(path: &str, value: usize, range: RangeInclusive<usize>) -> Checked {
    if range.contains(&value) {
        return Ok(());
    }
    out_of_range(path, value, &format!("from {} to {}", range.start(), range.end()))
}

pub(super) fn fraction(path: &str, value: Option<f64>) -> Checked {
    match value {
        Some(value) if (0.0..=1.0).contains(&value) => Ok(()),
        Some(value) if (1.0..=100.0).contains(&value) => {
            let share = value / 100.0;
            out_of_range(path, value, &format!("a fraction from 0 to 1, as {share}"))
        }
        Some(value) => out_of_range(path, value, "a fraction from 0 to 1"),
        None => Ok(()),
    }
}

pub(super) fn out_of_range(path: &str, value: impl std::fmt::Display, wanted: &str) -> Checked {
    Err(Problem::at(path, format!("{path} is {value}: it must be {wanted}")))
}

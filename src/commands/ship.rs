//! `ship`: everything, from the teacher to the bundle.

use std::io::Write;

use anyhow::{Context, Result};
use hipflask_runtime::Model;

use super::print_json;
use crate::args::{Common, ShipArgs};
use crate::bundle::{Bundle, Device};
use crate::files::{FolderLock, write};
use crate::outcome::Outcome;
use crate::progress::Progress;
use crate::recipe::{Format, Recipe};
use crate::report::gates::Limits;
use crate::report::model::Students;
use crate::report::seeds::{Accuracies, SeedsReport};
use crate::report::{Report, table};
use crate::stages::convert::{Calibration, convert};
use crate::stages::portions::Portions;
use crate::stages::run::Run;
use crate::stages::samples::Samples;
use crate::stages::student::Taught;
use crate::stages::validate::{self, Measured};
use crate::stages::{budget, golden, qat, student, teacher};

/// Runs the command.
pub fn run(args: &ShipArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let progress = Progress::new(common);
    let mut run = Run::new(args.recipe.as_deref(), &args.run, progress)?;
    if let Some(target) = &args.target {
        run.recipe.bundle.targets = vec![target.clone()];
    }
    run.recipe.set_size_budget(args.size_budget);
    if args.qat {
        run.recipe.qat.get_or_insert_default();
    }
    if args.explain {
        return explain(&run.recipe, common.json, out);
    }
    run.recipe.require_student()?;
    let _lock = FolderLock::take(run.folder.root())?;
    // Before hours of training rather than after them.
    let targets = run.recipe.bundle.targets.iter();
    let devices = targets.map(|target| Ok((target.clone(), Device::find(target, &progress)?)));
    let devices: Vec<(String, Device)> = devices.collect::<Result<_>>()?;
    let folder = run.folder.clone();
    let (mut seeds, mut reports) = (Vec::new(), Vec::new());
    for run in run.for_seeds(args.seeds) {
        if args.seeds.is_some() {
            progress.line(&format!("{}: seed {}", run.recipe.name, run.recipe.seed));
        }
        seeds.push(run.recipe.seed);
        reports.push(ship(&run, &devices)?);
    }
    let report = match reports.len() {
        1 => reports.remove(0),
        _ => combine(&seeds, reports).context("no seeds")?,
    };
    let document = serde_json::to_vec_pretty(&report)?;
    write(&folder.report(), &document)?;
    if common.json {
        print_json(out, &report)?;
    } else {
        table::write(&report, out)?;
        writeln!(out, "\nResults are in {}", folder.root().display())?;
    }
    Ok(if report.passed { Outcome::Done } else { Outcome::GateFailed })
}

fn explain(recipe: &Recipe, json: bool, out: &mut dyn Write) -> Result<Outcome> {
    if json {
        print_json(out, recipe)?;
    } else {
        write!(out, "{}", recipe.to_toml()?)?;
    }
    Ok(Outcome::Done)
}

/// One seed: its files go to the run's folder.
fn ship(run: &Run, devices: &[(String, Device)]) -> Result<Report> {
    let recipe = &run.recipe;
    let data = run.data(None)?;
    // A student that cannot be built should fail before its teacher is trained.
    student::check(run, &data)?;
    let needs_teacher = recipe.needs_teacher();
    let teacher = if needs_teacher { Some(teacher::obtain(run, &data)?) } else { None };
    let teacher = teacher.as_ref();
    let Taught { graph, report: f32, chain, peers } = student::distill(run, &data, teacher)?;
    let control = student::control(run, &data, teacher)?;
    let mut students = Students { f32: Some(f32), ..Students::default() };
    for &format in &recipe.quantize.to {
        if let (Some(table), Format::Int8) = (&recipe.qat, format) {
            let tuned = qat::tune(run, table, &data, &graph, teacher)?;
            (students.int8, students.converted) = (Some(tuned.report), Some(tuned.converted));
            continue;
        }
        run.progress.line(&format!("student: converting to {}", format.name()));
        let portions = Portions::of_recipe(&data, &recipe.quantize.calibration);
        let method = recipe.quantize.calibration.method;
        let calibration = Calibration::new(&portions, &data.preprocess, method)?;
        let converted = convert(&graph, format, &calibration, recipe.quantize.group_size)?;
        let report = student::write(run, &data, "student", format.name(), &converted, teacher)?;
        *students.place(format.name()) = Some(report);
    }
    for (target, device) in devices {
        run.progress.line(&format!("bundle: {target}"));
        let path = run.folder.student(students.smallest().map_or("f32", |(format, _)| format));
        let model = Model::open(&path)?;
        let samples = Samples::new(&data.test, &data.preprocess)?;
        let logits = teacher.map(|t| &t.logits);
        let golden = golden::record(&model, &path, &samples, logits, recipe.validate.golden)?;
        write(&run.folder.golden(), &golden)?;
        let name = match devices.len() {
            1 => "bundle".into(),
            _ => format!("bundle-{target}"),
        };
        Bundle::new(device, &path, &golden)?.write(&run.folder.file(&name))?;
    }
    let limits =
        Limits { max_drop: recipe.validate.max_drop, min_agreement: recipe.validate.min_agreement };
    let (format, path) = match students.smallest() {
        Some((format, _)) => (format, run.folder.student(format)),
        None => ("f32", run.folder.student("f32")),
    };
    let gates = budget::of_file(&recipe.budget, &format!("student {format}"), &path)?;
    let measured = Measured {
        name: &recipe.name,
        seed: Some(recipe.seed),
        spec: &recipe.data,
        data: &data,
        teacher,
        chain,
        peers,
        control,
        students,
        gates,
    };
    let report = validate::report(measured, &limits);
    write(&run.folder.report(), &serde_json::to_vec_pretty(&report)?)?;
    Ok(report)
}

/// The first seed's report with the figures of all; every seed's gates count.
fn combine(seeds: &[u64], reports: Vec<Report>) -> Option<Report> {
    let accuracies: Vec<Accuracies> = reports.iter().map(Accuracies::from).collect();
    let summary = SeedsReport::of(seeds, &accuracies);
    let gates = seeds.iter().zip(&reports).flat_map(|(seed, report)| {
        report.gates.iter().cloned().map(move |mut gate| {
            gate.text = format!("seed {seed}: {}", gate.text);
            gate
        })
    });
    let gates: Vec<_> = gates.collect();
    let first = reports.into_iter().next()?;
    let passed = gates.iter().all(|gate| gate.passed);
    Some(Report { seeds: Some(summary), passed, gates, ..first })
}

//! Climbing the ladder: each rung's int8 student is measured by the runtime, the best one written.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use hipflask_distill::evaluate::{Logits, Scores};
use hipflask_distill::fingerprint::Fingerprint;
use hipflask_quantize::recover::{Candidate, Ladder, Next, Rung};
use hipflask_quantize::{self as quantize, prepare};
use hipflask_runtime::Model;
use hipflask_runtime::graph::Graph;

use super::convert::Calibration;
use super::ladder_state::{LadderFolder, LadderState};
use super::measure::{logits, measure};
use super::portions::Origin;
use super::samples::Samples;
use crate::files::write;
use crate::progress::Progress;
use crate::report::ladder::{Figures, LadderReport, RungReport, Skipped, TestFigures};

/// What is climbed, and how far.
pub struct Climb<'a> {
    /// The f32 student.
    pub student: &'a Graph,
    /// Size of its file.
    pub student_bytes: u64,
    /// Calibration and held samples, and the method of the first rung.
    pub calibration: Calibration<'a>,
    /// What the held samples are.
    pub origin: Origin,
    /// Measured at the end; they choose nothing.
    pub test: Samples<'a>,
    /// Most percentage points to lose.
    pub max_drop: f64,
    /// Time for all rungs after the first.
    pub time: Option<Duration>,
    /// Whether to go on from where an interrupted climb was.
    pub resume: bool,
    /// Where the best so far is written; beside it, until the end, what is needed to go on.
    pub path: &'a Path,
    /// Makes the last rung, where there is one.
    pub training: Option<&'a dyn LastRung>,
    /// The bytes of a model file with a graph.
    pub encode: &'a dyn Fn(&Graph) -> Vec<u8>,
    /// Progress on stderr.
    pub progress: Progress,
}

/// Trains a student as int8.
pub trait LastRung {
    /// Trains in `folder`, which keeps what is needed to go on, for so many minutes at most.
    fn train(&self, folder: &Path, minutes: Option<f64>) -> Result<Candidate>;
}

/// Climbs until a rung loses no more than asked, the time is over or no rung is left; gives what was
/// written, the best by the held samples.
pub fn climb(climb: &Climb<'_>) -> Result<(Candidate, LadderReport)> {
    climb.calibration.check()?;
    let Calibration { samples, held, method } = &climb.calibration;
    let started = Instant::now();
    let go_on = || climb.time.is_none_or(|time| started.elapsed() < time);
    let float = Model::from_graph(climb.student.clone())?;
    let reference = logits(&float, "the f32 student", held)?;
    let of_float = measure(&float, "the f32 student", held, None)?;
    let folder = LadderFolder::beside(climb.path, climb.fingerprint());
    let kept = if climb.resume { folder.load()? } else { folder.remove().map(|()| None)? };
    let (mut rungs, mut skipped) = (Vec::<RungReport>::new(), Vec::new());
    let (mut best, mut adopted) = (None::<(usize, Candidate)>, None::<(usize, Candidate)>);
    let mut ladder = if let Some(state) = kept {
        climb.progress.line(&format!("going on after {} rungs", state.rungs.len()));
        (rungs, skipped) = (state.rungs, state.skipped);
        (best, adopted) = (Some(state.best), Some(state.adopted.clone()));
        Ladder::resumed(state.height, state.adopted.1, samples, held, &go_on)
    } else {
        Ladder::new(&prepare(climb.student)?, *method, samples, held, &go_on)?
    };
    let mut out_of_time = false;
    let mut rung_started = started;
    let left = || climb.time.map(|time| time.saturating_sub(started.elapsed()));
    // A climb that was killed right behind this rung has it already.
    let trained = rungs.iter().any(|report| report.rung == Rung::Training);
    let mut training = climb.training.filter(|_| !trained);
    // Where an earlier climb reached the target there is nothing to go on with.
    while !rungs.last().is_some_and(|last| last.drop <= climb.max_drop + ROUNDING) {
        let candidate = match ladder.climb() {
            Ok(Next::Candidate(candidate)) => candidate,
            Ok(Next::Skipped(rung, why)) => {
                skipped.push(Skipped { rung, why });
                continue;
            }
            Ok(Next::Done) => {
                let Some(last) = training.take() else { break };
                if left().is_some_and(|left| left.is_zero()) {
                    out_of_time = true;
                    break;
                }
                let minutes = left().map(|left| left.as_secs_f64() / 60.0);
                let (place, minutes) = folder.training(minutes)?;
                Box::new(last.train(&place, minutes)?)
            }
            Err(quantize::Error::Stopped) => {
                out_of_time = true;
                break;
            }
            Err(error) => return Err(error.into()),
        };
        let bytes = (climb.encode)(&candidate.int8);
        let mut report = judge(&candidate, held, &reference, of_float.scores.accuracy)?;
        report.figures.bytes = bytes.len() as u64;
        report.seconds = rung_started.elapsed().as_secs_f64();
        rung_started = Instant::now();
        report.adopted = adopted.as_ref().is_none_or(|(rung, _)| report.kl < rungs[*rung].kl);
        if report.adopted {
            ladder.adopt(&candidate);
            adopted = Some((rungs.len(), (*candidate).clone()));
        }
        climb.progress.line(&format!(
            "int8, {}: drop {:.2} points, KL {:.5} ({})",
            report.rung.name(),
            report.drop,
            report.kl,
            report.note
        ));
        let better = best.as_ref().is_none_or(|(place, _)| beats(&report, &rungs[*place]));
        rungs.push(report);
        if better {
            write(climb.path, &bytes)?;
            best = Some((rungs.len() - 1, *candidate));
        }
        if let (Some(adopted), Some(best)) = (&adopted, &best) {
            folder.save(&LadderState {
                rungs: rungs.clone(),
                skipped: skipped.clone(),
                height: ladder.height().clone(),
                adopted: adopted.clone(),
                best: best.clone(),
            })?;
        }
    }
    if !out_of_time {
        folder.remove()?;
    }
    let (best, candidate) = best.context("the ladder has no rungs")?;
    let report = LadderReport {
        max_drop: climb.max_drop,
        met: rungs[best].drop <= climb.max_drop + ROUNDING,
        out_of_time,
        calibration_samples: samples.len(),
        held_samples: held.len(),
        held: climb.origin,
        float: Figures::of(&of_float, climb.student_bytes),
        rungs,
        skipped,
        best,
        test: test(climb, &float, &candidate)?,
    };
    Ok((candidate, report))
}

impl Climb<'_> {
    /// Of the student, the samples and the method of the first rung.
    fn fingerprint(&self) -> String {
        let mut run = Fingerprint::new();
        run.bytes(&(self.encode)(self.student));
        run.bytes(self.calibration.method.name().as_bytes());
        for samples in [&self.calibration.samples, &self.calibration.held] {
            for index in 0..samples.len() {
                run.numbers(samples.get(index).iter().map(|value| value.to_bits().into()));
            }
        }
        run.finish()
    }
}

/// Differences of fractions are rounded: half a millionth of a point.
const ROUNDING: f64 = 5e-7;

fn judge(
    candidate: &Candidate,
    held: &Samples<'_>,
    reference: &Logits,
    float: Option<f64>,
) -> Result<RungReport> {
    let model = Model::from_graph(candidate.int8.clone())?;
    let measured = measure(&model, candidate.rung.name(), held, Some(reference))?;
    let Scores { agreement, kl, .. } = measured.scores;
    let agreement = agreement.unwrap_or_default();
    Ok(RungReport {
        rung: candidate.rung,
        note: candidate.note.clone(),
        drop: drop(float, measured.scores.accuracy, agreement),
        figures: Figures::of(&measured, 0),
        agreement,
        kl: kl.unwrap_or_default(),
        adopted: false,
        seconds: 0.0,
    })
}

/// Percentage points of accuracy lost, or without labels the percentage of other classes.
fn drop(float: Option<f64>, int8: Option<f64>, agreement: f64) -> f64 {
    match float.zip(int8) {
        Some((float, int8)) => (float - int8) * 100.0,
        None => (1.0 - agreement) * 100.0,
    }
}

/// Less is lost; where equally much, or nothing, is lost, the answers are nearer. That int8 is right
/// more often than f32 is luck, and no reason to prefer it.
fn beats(one: &RungReport, other: &RungReport) -> bool {
    let lost = |report: &RungReport| report.drop.max(0.0);
    lost(one).total_cmp(&lost(other)).then(one.kl.total_cmp(&other.kl)).is_lt()
}

fn test(climb: &Climb<'_>, float: &Model, best: &Candidate) -> Result<Option<TestFigures>> {
    if climb.test.is_empty() {
        return Ok(None);
    }
    let reference = logits(float, "the f32 student", &climb.test)?;
    let of_float = measure(float, "the f32 student", &climb.test, None)?.scores.accuracy;
    let model = Model::from_graph(best.int8.clone())?;
    let scores = measure(&model, best.rung.name(), &climb.test, Some(&reference))?.scores;
    Ok(Some(TestFigures {
        samples: scores.samples,
        float: of_float,
        int8: scores.accuracy,
        drop: drop(of_float, scores.accuracy, scores.agreement.unwrap_or_default()),
    }))
}

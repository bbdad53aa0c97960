//! `verify`: does this machine give the recorded answers?

use std::io::Write;
use std::path::Path;

use hipflask_runtime::Result;
use hipflask_runtime::golden::Golden;

use crate::{Flags, Outcome, open, print, to_json};

pub(crate) fn run(path: &str, golden: &str, flags: Flags, out: &mut dyn Write) -> Result<Outcome> {
    let (model, mut session) = open(path, flags)?;
    let bytes = hipflask_runtime::file::open(Path::new(golden))?;
    let golden = Golden::from_bytes((*bytes).as_ref()).map_err(|e| e.in_file(golden))?;
    let file = hipflask_runtime::file::open(Path::new(path))?;
    golden.check_file((*file).as_ref()).map_err(|e| e.in_file(path))?;
    let verdict = golden.verify(&model, &mut session)?;
    let passed = verdict.passed();
    if flags.json {
        print(out, &to_json(&verdict))?;
    } else {
        let promise = if verdict.exact { "bits equal" } else { "within tolerance" };
        let mut text = format!(
            "{}: {} of {} samples {promise} on {}",
            if passed { "passed" } else { "FAILED" },
            verdict.equal,
            verdict.samples,
            session.isa()
        );
        if !passed {
            text += &format!(", largest difference {}", verdict.largest_difference);
        }
        if let Some(value) = &verdict.first_divergence {
            text += &format!(", first divergence at {value}");
        }
        for (name, share) in
            [("teacher's class", verdict.agreement), ("right class", verdict.accuracy)]
        {
            if let Some(share) = share {
                text += &format!("; {name} {:.1} %", share * 100.0);
            }
        }
        print(out, &(text + "\n"))?;
    }
    Ok(if passed { Outcome::Done } else { Outcome::Failed })
}

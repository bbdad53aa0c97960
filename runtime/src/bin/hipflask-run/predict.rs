//! `predict`: the best classes of what is in files, folders and streams.

use std::io::{BufRead, BufReader, Write};

use hipflask_runtime::input::{Frames, Preprocess};
use hipflask_runtime::{Error, ErrorKind, Model, Result, Session};

use crate::ranking::{Ranking, labels};
use crate::{Flags, Outcome, open, sources};

/// Answers for files and folders; `-` is `input`.
pub(crate) fn run(
    path: &str,
    names: &[&str],
    flags: Flags,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let (model, mut session) = open(path, flags)?;
    let preprocess = preprocess(&model, path)?;
    let labels = labels(&model, &session);
    let mut ranking = Ranking::new(&labels, flags)?;
    let shape = session.inputs()[0].shape.to_vec();
    for file in sources::files(names, preprocess)? {
        let bytes = sources::read(&file, input)?;
        let in_file = |error: Error| error.in_file(&file);
        for input in preprocess.inputs((*bytes).as_ref(), &shape).map_err(in_file)? {
            let input = input.map_err(in_file)?;
            let line = ranking.line(&file, input.at, session.predict(&input.values)?);
            if !write(out, line) {
                return Ok(Outcome::Done);
            }
        }
    }
    Ok(Outcome::Done)
}

/// Answers for each frame of a file, `-` being `input`, as soon as it is there.
pub(crate) fn stream(
    path: &str,
    file: &str,
    flags: Flags,
    input: &mut dyn BufRead,
    out: &mut dyn Write,
) -> Result<Outcome> {
    let (model, mut session) = open(path, flags)?;
    let shape = session.inputs()[0].shape.to_vec();
    let mut frames = Frames::new(preprocess(&model, path)?, &shape, flags.hop)?;
    if file == "-" {
        return answer(&model, &mut session, &mut frames, flags, (file, input), out);
    }
    let opened = std::fs::File::open(file)
        .map_err(|e| Error::new(ErrorKind::Io, file, format!("cannot be read: {e}")))?;
    let input = &mut BufReader::new(opened);
    answer(&model, &mut session, &mut frames, flags, (file, input), out)
}

/// After the first frame nothing is allocated, whatever a stream's length.
fn answer(
    model: &Model,
    session: &mut Session,
    frames: &mut Frames<'_>,
    flags: Flags,
    (file, input): (&str, &mut dyn BufRead),
    out: &mut dyn Write,
) -> Result<Outcome> {
    let labels = labels(model, session);
    let mut ranking = Ranking::new(&labels, flags)?;
    while let Some(frame) = frames.next(input).map_err(|error| error.in_file(file))? {
        let line = ranking.line(file, Some(frame.at), session.predict(frame.values)?);
        if !write(out, line) {
            break;
        }
    }
    Ok(Outcome::Done)
}

/// Whether somebody still reads.
fn write(out: &mut dyn Write, line: &[u8]) -> bool {
    out.write_all(line).and_then(|()| out.flush()).is_ok()
}

fn preprocess<'m>(model: &'m Model, path: &str) -> Result<&'m Preprocess> {
    model.preprocess().ok_or_else(|| {
        let what = "says nothing of its preprocessing, so bytes cannot become its input";
        Error::new(ErrorKind::Input, path, what)
    })
}

#[cfg(test)]
#[path = "predict_tests.rs"]
mod tests;

//! `check`: is a bundle what was made, and made by whom?

use std::io::Write;

use anyhow::Result;
use serde::Serialize;

use super::print_json;
use crate::args::{CheckArgs, Common};
use crate::bundle::{Bundle, SIGNATURE, sums};
use crate::outcome::Outcome;

#[derive(Serialize)]
struct Document {
    bundle: String,
    files: usize,
    bytes: u64,
    /// A sentence for each file that is not what it should be.
    wrong: Vec<String>,
    signature: Signature,
    passed: bool,
}

/// What is known of the signature.
#[derive(Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Signature {
    /// By the key that was given.
    Good,
    /// By none of the keys that were given, or of other checksums.
    Bad,
    /// There is none.
    None,
    /// There is one, but no key to check it with.
    Unchecked,
}

/// Runs the command.
pub fn run(args: &CheckArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let bundle = Bundle::read(&args.bundle)?;
    let wrong = sums::check(&bundle)?;
    let signature = match (&args.public_key, bundle.find(SIGNATURE)) {
        (None, None) => Signature::None,
        (None, Some(_)) => Signature::Unchecked,
        (Some(key), signature) => match (bundle.is_signed_by(key)?, signature) {
            (true, _) => Signature::Good,
            (false, Some(_)) => Signature::Bad,
            (false, None) => Signature::None,
        },
    };
    let trusted = args.public_key.is_none() || signature == Signature::Good;
    let document = Document {
        bundle: args.bundle.display().to_string(),
        files: bundle.files.len(),
        bytes: bundle.bytes(),
        passed: wrong.is_empty() && trusted,
        wrong,
        signature,
    };
    if common.json {
        print_json(out, &document)?;
    } else {
        write(&document, args, out)?;
    }
    Ok(if document.passed { Outcome::Done } else { Outcome::GateFailed })
}

fn write(document: &Document, args: &CheckArgs, out: &mut dyn Write) -> Result<()> {
    let Document { bundle, files, bytes, wrong, signature, passed } = document;
    for sentence in wrong {
        writeln!(out, "{sentence}")?;
    }
    let key = args.public_key.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    let signed = match signature {
        Signature::Good => format!("signed by {key}"),
        Signature::Bad => {
            format!("NOT signed by {key}: the signature is another's or of other sums")
        }
        Signature::None => "not signed".into(),
        Signature::Unchecked => "signed; --public-key says by whom".into(),
    };
    let (verdict, sums) = match (passed, wrong.is_empty()) {
        (true, _) => ("passed", "sums right"),
        (false, true) => ("FAILED", "sums right"),
        (false, false) => ("FAILED", "sums WRONG"),
    };
    writeln!(out, "{verdict}: {bundle}: {files} files, {bytes} bytes, {sums}; {signed}")?;
    Ok(())
}

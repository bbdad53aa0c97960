//! `deploy`: a bundle on a board, proven before it is in use.

use std::io::Write;

use anyhow::{Result, bail};

use super::print_json;
use crate::args::{Common, DeployArgs};
use crate::bundle::{Bundle, sums};
use crate::deploy::{self, Address, Options};
use crate::outcome::Outcome;
use crate::progress::Progress;

/// Runs the command.
pub fn run(args: &DeployArgs, common: &Common, out: &mut dyn Write) -> Result<Outcome> {
    let place = args.bundle.display();
    let bundle = Bundle::read(&args.bundle)?;
    let wrong = sums::check(&bundle)?;
    if !wrong.is_empty() {
        bail!("{place}: {}: make the bundle again; nothing was copied", wrong.join("; "));
    }
    if let Some(key) = &args.public_key
        && !bundle.is_signed_by(key)?
    {
        bail!(
            "{place}: is not signed by {}: sign it with hipflask bundle --sign; nothing was copied",
            key.display()
        );
    }
    let options = Options {
        address: Address {
            host: args.host.clone(),
            port: args.port,
            config: args.ssh_config.clone(),
        },
        folder: args.folder.clone(),
        runs: args.runs,
    };
    let deployed = deploy::deploy(&bundle, &options, &Progress::new(common))?;
    if common.json {
        print_json(out, &deployed)?;
    } else {
        deployed.write(out)?;
    }
    Ok(if deployed.passed { Outcome::Done } else { Outcome::GateFailed })
}
